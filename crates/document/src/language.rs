//! The expression language of jobs, scenarios and inventories: MiniJinja with the additions that people who write Jinja
//! for Ansible expect: the methods of Python's strings, lists and dictionaries, and the most common filters and tests.

mod filters;
mod json;

pub(crate) use self::filters::LARGEST;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Filters to suggest for a misspelled one, with blanks between them.
pub(crate) const FILTERS: &str = "\
    abs attr b64decode b64encode basename batch bool capitalize chain combine count d default dict2items \
    dictsort difference dirname e escape first float format from_json groupby indent int intersect items \
    items2dict join last length lines list lower mandatory map max min pprint quote regex_escape \
    regex_findall regex_replace regex_search reject rejectattr replace reverse round safe select selectattr \
    slice sort split string sum title to_json to_nice_json tojson trim union unique upper zip";
/// Tests to suggest for a misspelled one, with blanks between them.
pub(crate) const TESTS: &str = "\
    boolean defined divisibleby endingwith equalto even false float greaterthan in integer iterable lessthan \
    lower mapping match none number odd sameas sequence startingwith string true undefined upper";

/// Returns the language; one evaluation may take `fuel` steps. Using an undefined name is an error.
///
/// ```
/// use minijinja::context;
///
/// let language = reveille_document::language(1_000);
/// let name = language.compile_expression("host.split('.')[0] | regex_replace('^w', 'W')")?;
/// assert_eq!(name.eval(context! { host => "web1.example.org" })?.as_str(), Some("Web1"));
/// # Ok::<(), minijinja::Error>(())
/// ```
pub fn language(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(fuel));
    environment.set_syntax(syntax());
    // None is printed as nothing.
    environment.set_formatter(|out, state, value| {
        if value.is_none() {
            return Ok(());
        }
        let printed = &mut state.get_or_insert_extension(Printed(0)).0;
        *printed = printed.saturating_add(value.as_str().map_or(0, str::len));
        if *printed > LARGEST {
            return Err(too_large());
        }
        escape_formatter(out, state, value)
    });
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        if let Some(text) = value.as_str() {
            filters::check_arguments(method, text, arguments)?;
        }
        unknown_method_callback(state, value, method, arguments)
    });
    // It would print all values, secrets too.
    environment.remove_global("debug");
    filters::add(&mut environment);
    environment
}

/// The bytes that a template has printed so far, also into variables.
struct Printed(usize);

/// The error of a template whose result is too large.
pub(crate) fn too_large() -> Error {
    let message = format!("the template makes a text of more than {LARGEST} bytes");
    Error::new(ErrorKind::InvalidOperation, message)
}

/// As in Ansible: a line with nothing but a block leaves no empty line, and the last newline is kept.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .unwrap_or_default()
}
