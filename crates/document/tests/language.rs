//! Results of expressions. The expected values are those of ansible-core 2.19.

use minijinja::{Value, context};
use reveille_document::ansible::{too_long, with_plain_backslashes};
use reveille_document::language;

const CASES: &[(&str, &str)] = &[
    ("'web1.example.org'.split('.')[0]", "web1"),
    ("'a,b'.split(',') | join('-')", "a-b"),
    ("'x.conf'.endswith('.conf')", "True"),
    ("'/etc/x/y.conf' | basename", "y.conf"),
    ("'/etc/x/' | basename", ""),
    ("'/etc/x/y.conf' | dirname", "/etc/x"),
    ("'/etc/x/' | dirname", "/etc/x"),
    ("'y' | dirname", ""),
    ("'/y' | dirname", "/"),
    ("'héllo' | b64encode", "aMOpbGxv"),
    ("'aMOpbGxv' | b64decode", "héllo"),
    ("'aMOp\\nbGxv\\n' | b64decode", "héllo"),
    ("'x' | int", "0"),
    ("'x' | int(7)", "7"),
    ("'7.9' | int", "7"),
    ("' 12 ' | int", "12"),
    ("'0x1f' | int(base=16)", "31"),
    ("'-1f' | int(base=16)", "-31"),
    ("true | int", "1"),
    ("none | int", "0"),
    ("[1] | int(3)", "3"),
    ("3.99 | int", "3"),
    ("'1_000' | int", "1000"),
    ("'x' | float", "0.0"),
    ("'1.5' | float", "1.5"),
    ("'x' | float(2.5)", "2.5"),
    ("'no' | bool", "False"),
    ("'Yes' | bool", "True"),
    ("'on' | bool", "True"),
    ("1 | bool", "True"),
    ("0 | bool", "False"),
    ("true | ternary('a', 'b')", "a"),
    ("'' | ternary('a', 'b')", "b"),
    ("none | ternary('a', 'b', 'c')", "c"),
    ("'plain-1.0' | quote", "plain-1.0"),
    ("\"it's\" | quote", "'it'\"'\"'s'"),
    ("'' | quote", "''"),
    ("'web12' | regex_replace('^web([0-9]+)$', 'w-\\\\1')", "w-12"),
    (
        "'web12' | regex_replace('(?P<n>[0-9]+)', '<\\\\g<n>>')",
        "web<12>",
    ),
    ("'WEB' | regex_replace('e', '$x', ignorecase=true)", "W$xB"),
    ("'a.b' | regex_replace('\\\\.', '')", "ab"),
    ("'aaa' | regex_replace('a', 'b', count=2)", "bba"),
    ("'abc' | regex_replace('', '-')", "-a-b-c-"),
    ("'aXbX' | replace('X', 'yy')", "ayybyy"),
    ("[1] | tojson(indent=2)", "[\n  1\n]"),
    ("[[1, 2], [3]] | map('join', '+') | join(',')", "1+2,3"),
    ("'web12' | regex_search('[0-9]+')", "12"),
    ("'a1b22' | regex_findall('[0-9]+') | join(',')", "1,22"),
    ("'a1b22' | regex_findall('[a-z]([0-9]+)') | join(',')", "1,22"),
    ("'a.b c' | regex_escape", "a\\.b\\ c"),
    (
        "'ab' | regex_search('(a)(b)', '\\\\2', '\\\\1') | join(',')",
        "b,a",
    ),
    ("'a,b,c' | regex_replace(',', '\\n', count=1)", "a\nb,c"),
    ("{'z': 'é', 'a': 1} | to_json", "{\"z\": \"\\u00e9\", \"a\": 1}"),
    (
        "{'z': 1, 'a': 2} | dict2items | map(attribute='key') | join(',')",
        "z,a",
    ),
    ("{'a': none}.a", "None"),
    ("'x' ~ ('a' | indent(2, true))", "x  a"),
    ("'x' ~ ('a\nb' | indent(width=2))", "xa\n  b"),
    ("[3, 1, 3, 2] | difference([1]) | join(',')", "3,2"),
    ("'%02d' | format(5)", "05"),
    ("{'a': [1, 'x']} | to_json", "{\"a\": [1, \"x\"]}"),
    (
        "{'b': 1, 'a': [true, none]} | to_nice_json",
        "{\n    \"a\": [\n        true,\n        null\n    ],\n    \"b\": 1\n}",
    ),
    ("('{\"a\": [1]}' | from_json).a[0]", "1"),
    ("({'a': 1, 'b': 2} | combine({'b': 3})).b", "3"),
    (
        "({'a': {'x': 1, 'y': 2}} | combine({'a': {'y': 3}}, recursive=true)).a.x",
        "1",
    ),
    ("'x' in ({'a': {'x': 1}} | combine({'a': {'y': 3}})).a", "False"),
    ("({'a': 1} | dict2items)[0].key", "a"),
    ("([{'key': 'k', 'value': 'v'}] | items2dict).k", "v"),
    ("[1, 2, 2, 3] | difference([3]) | join(',')", "1,2"),
    ("[1, 2, 3] | intersect([3, 2]) | join(',')", "2,3"),
    ("[1, 2] | union([2, 3]) | join(',')", "1,2,3"),
    ("'web1' is match('web')", "True"),
    ("'aweb1' is match('web')", "False"),
    ("'aweb1' is search('WEB', ignorecase=true)", "True"),
    ("'1.10' is version('1.9', '>')", "True"),
    ("'12' is version('12', '>=')", "True"),
    ("'2.4.1' is version('2.4', 'lt')", "False"),
    ("'1.0' is version('1', '==')", "False"),
    ("'x' | mandatory", "x"),
];

fn evaluate(expression: &str) -> Result<Value, minijinja::Error> {
    language(10_000)
        .compile_expression_owned(expression.to_owned())?
        .eval(context! {})
}

#[test]
fn filters_come_to_what_ansibles_do() {
    for (expression, expected) in CASES {
        let value = evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error:#}"));
        assert_eq!(value.to_string(), *expected, "{expression}");
    }
}

#[test]
fn backslashes_of_ansible_are_backslashes() {
    for (template, plain) in [
        (r"a\b {{ x }} \1", r"a\b {{ x }} \1"),
        (r"{{ x | f('\1') }} \1", r"{{ x | f('\\1') }} \1"),
        (
            r"{% if 'a5' is match('a\\d') %}\d{% endif %}{{ p.replace('\\', '/') }}",
            r"{% if 'a5' is match('a\\d') %}\d{% endif %}{{ p.replace('\\\\', '/') }}",
        ),
        (r"{{ 'it\'s \d' }}", r"{{ 'it\'s \\d' }}"),
        (
            r"{{ {'a': {'b': 1}}['a'] ~ f('\d') }}\d",
            r"{{ {'a': {'b': 1}}['a'] ~ f('\\d') }}\d",
        ),
    ] {
        assert_eq!(with_plain_backslashes(template), plain);
    }
}

#[test]
fn what_is_too_long_is_not_read() {
    let long = "1+".repeat(3000);
    for (template, is_long) in [
        (format!("{{{{ {long}1 }}}}"), true),
        (format!("{{{{ '}}}}' ~ {long}1 }}}}"), true),
        (format!("{{% if {long}1 %}}x{{% endif %}}"), true),
        (format!("{{{{ {long}"), true),
        (format!("{{{{ a }}}}{long}{{{{ b }}}}{long}"), false),
        ("{{ a }} ".repeat(10_000), true),
    ] {
        assert_eq!(too_long(&template).is_some(), is_long, "{}", &template[..20]);
    }
}

#[test]
fn what_can_not_be_done_is_said() {
    for (expression, said) in [
        ("'a' | regex_search('(?=b)')", "look-around"),
        (
            "'a' | regex_replace('(', '')",
            "the pattern is not valid: unclosed group",
        ),
        ("'a' | regex_replace('(a)', '\\1')", "two backslashes"),
        (
            "'x' | indent(4000000000, true)",
            "`indent` can't make a text wider",
        ),
        ("'%04000000000d' | format(1)", "`format` can't make a text wider"),
        ("'{:>4000000000}'.format(1)", "`format` can't make a text wider"),
        ("'x'.center(4000000000)", "`center` can't make a text wider"),
        (
            "('x' * 9000000) | replace('x', 'y' * 9000000)",
            "more than 16777216 bytes",
        ),
        (
            "('x' * 9000000).replace('x', 'y' * 9000000)",
            "more than 16777216 bytes",
        ),
        (
            "('x' * 9000000) | regex_replace('x', 'y' * 9000)",
            "more than 16777216 bytes",
        ),
        ("range(90000) | join('y' * 9000000)", "more than 16777216 bytes"),
        ("(['y' * 9000000] * 90000) | join", "more than 16777216 bytes"),
        ("('y' * 9000000).join(range(90000))", "more than 16777216 bytes"),
        (
            "'x' | slice(4000000000)",
            "`slice` takes a number of at most 10000",
        ),
        (
            "'x' | batch(4000000000, 'y')",
            "`batch` takes a number of at most 10000",
        ),
        (
            "[1] | tojson(4000000000)",
            "`tojson` takes a number of at most 10000",
        ),
        (
            "[1] | tojson(indent=4000000000)",
            "`tojson` takes a number of at most 10000",
        ),
        ("debug()", "unknown function"),
        ("'a' | regex_search('a', ignore=true)", "ignore"),
        ("'!' | b64decode", "this is not text in base64"),
        ("'a' is version('1', '~')", "this is not a comparison of versions"),
        ("'x' | combine({})", "expected a dictionary, found string"),
        ("'{' | from_json", "this is not JSON"),
        ("nothing | mandatory", "mandatory value is undefined"),
    ] {
        let error = evaluate(expression).expect_err(expression);
        assert!(format!("{error:#}").contains(said), "{expression}: {error:#}");
    }
}

proptest::proptest! {
    #[test]
    fn no_pattern_and_no_version_panics(text: String, pattern: String, with: String) {
        let value = |text: &str| Value::from(text);
        for expression in ["t | regex_replace(p, w)", "t | regex_findall(p)", "t | quote", "t is version(w)", "t | dirname | basename"] {
            let language = language(10_000);
            let compiled = language.compile_expression(expression).unwrap();
            let _ = compiled.eval(context! { t => value(&text), p => value(&pattern), w => value(&with) });
        }
    }
}
