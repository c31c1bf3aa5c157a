//! Imports. Each imported scenario must be valid.

use std::process::Command;

use reveille_load::scenario::{Given, Scenario};

fn import(kind: &str, text: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("in.json");
    std::fs::write(&path, text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_reveille-load"))
        .args(["import", kind])
        .arg(&path)
        .output()
        .expect("started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let mut given = Given::default();
    // The remark at the head lists them.
    let variables = text
        .lines()
        .find_map(|line| line.strip_prefix("# secrets ")?.rsplit_once(": "))
        .map_or("", |(_, variables)| variables);
    for name in variables.split(", ") {
        given.env.insert(name.into(), "1".into());
    }
    if let Err(mistakes) = Scenario::parse(&text, "imported.yaml", &given) {
        panic!("{}\n{text}", mistakes[0]);
    }
    text
}

#[test]
fn a_recording_becomes_a_sequence() {
    insta::assert_snapshot!(import(
        "har",
        r#"{"log": {"entries": [
            {"request": {"method": "GET", "url": "https://shop.example/a?b={{c}}", "headers": [
                {"name": "Accept", "value": "*/*"}, {"name": "Authorization", "value": "Bearer secret"},
                {"name": ":authority", "value": "shop.example"}]}, "response": {"status": 200}},
            {"request": {"method": "POST", "url": "https://shop.example/cart", "headers": [],
                "postData": {"mimeType": "application/json", "text": "{\"id\": 7, \"tags\": []}"}}, "response": {"status": 302}},
            {"request": {"method": "GET", "url": "data:text/plain,x", "headers": []}, "response": {"status": 200}},
            {"request": {"method": "GET", "url": "https://cdn.example/x.js", "headers": []}, "response": {"status": 304}}
        ]}}"#
    ));
}

#[test]
fn a_description_becomes_tasks() {
    insta::assert_snapshot!(import(
        "openapi",
        r#"{"openapi": "3.0.0", "info": {"title": "Pets"}, "servers": [{"url": "https://pets.example/v1"}], "paths": {
            "/pets": {"get": {"operationId": "list", "responses": {"200": {}}},
                      "post": {"requestBody": {"content": {"application/json": {"example": {"name": "Rex"}}}}, "responses": {"201": {}}}},
            "/pets/{pet-id}": {"delete": {"responses": {"default": {}}}}}}"#
    ));
}

#[test]
fn forms_and_pauses_are_kept_and_secrets_are_not() {
    insta::assert_snapshot!(import(
        "har",
        r#"{"log": {"entries": [
            {"startedDateTime": "2026-01-01T12:00:00.000Z", "time": 250, "request": {"method": "POST",
                "url": "https://shop.example/login", "headers": [], "postData": {
                "mimeType": "application/x-www-form-urlencoded", "params": [
                {"name": "user", "value": "{{ann}}"}, {"name": "password", "value": "hunter2"}]}}},
            {"request": {"method": "CONNECT", "url": "https://shop.example/"}},
            {"request": {}},
            {"startedDateTime": "2026-01-01T12:00:02.500Z", "time": 10, "request": {"method": "PUT",
                "url": "https://shop.example/cart", "headers": [], "postData": {"mimeType": "application/json",
                "text": "{\"api-token\": \"abc\", \"note\": \"{{x}}\"}"}}},
            {"startedDateTime": "2026-01-01T12:00:02.520Z", "request": {"method": "GET", "url": "https://shop.example/", "headers": []}}
        ]}}"#
    ));
}

#[test]
fn no_secret_of_a_recording_is_written() {
    let text = import(
        "har",
        r#"{"log": {"entries": [
            {"request": {"method": "GET", "url": "https://ann:hunter1@shop.example/a?api-key=hunter2&page=2", "headers": [
                {"name": "X-Auth-Token", "value": "hunter3"}, {"name": "X-Api-Key", "value": "hunter4"},
                {"name": "Authorization", "value": "Bearer hunter5-of-many"}]}},
            {"request": {"method": "POST", "url": "https://shop.example/b/hunter5-of-many?t=hunter5-of-many", "headers": [],
                "postData": {"mimeType": "application/x-www-form-urlencoded", "text": "user=ann&passwd=hunter%206&x={{"}}},
            {"request": {"method": "POST", "url": "https://shop.example/c", "headers": [],
                "postData": {"mimeType": "application/x-www-form-urlencoded", "text": "", "params": [
                {"name": "tag", "value": "a b"}, {"name": "tag", "value": "c"}, {"name": "pin", "value": "hunter7"}]}}},
            {"request": {"method": "POST", "url": "https://shop.example/d", "headers": [],
                "postData": {"mimeType": "multipart/form-data; boundary=x", "params": [{"name": "client_secret", "value": "hunter8"}],
                "text": "--x\r\ncontent-disposition: form-data; name=\"client_secret\"\r\n\r\nhunter8\r\n--x--\r\n"}}},
            {"request": {"method": "POST", "url": "https://shop.example/e", "headers": [],
                "postData": {"mimeType": "application/json", "text": "{\"pin\": 4711, \"max_tokens\": 5, \"apiKey\": {\"value\": \"PASSWORD\"}}"}}},
            {"request": {"method": "GET", "url": "wss://shop.example/live", "headers": []}}
        ]}}"#,
    );
    assert!(!text.contains("hunter") && !text.contains("4711"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn any_recorded_text_can_be_read_again() {
    for odd in [
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{fffe}",
        "\u{1f600}",
        "\0",
        "a\nb",
        "\t",
        " ",
        "",
        "{{",
        "}}",
        "{{ '{{' }}",
        "{{ x }}",
        "\\",
        "'",
        "\"",
        "&x: *y # z",
        "\u{1b}[31m",
    ] {
        let har = serde_json::json!({"log": {"entries": [
            {"request": {"method": "POST", "url": format!("https://shop.example/?q={odd}"),
                "headers": [{"name": "x-a", "value": format!("v{odd}")}, {"name": "x-a", "value": "w"}],
                "postData": {"mimeType": "text/plain", "text": format!("t{odd}")}}},
            {"request": {"method": "PUT", "url": "https://shop.example/",
                "postData": {"mimeType": "application/json", "text": serde_json::json!({format!("k{odd}"): odd}).to_string()}}},
            {"request": {"method": "PUT", "url": "https://shop.example/", "postData": {
                "mimeType": "application/x-www-form-urlencoded", "params": [{"name": format!("n{odd}"), "value": odd}]}}},
        ]}});
        let text = import("har", &har.to_string());
        assert_eq!(
            text.matches("json:").count() + text.matches("form:").count(),
            2,
            "{text}"
        );
    }
}

#[test]
fn descriptions_may_be_yaml() {
    insta::assert_snapshot!(import(
        "openapi",
        "openapi: 3.0.3\ninfo: {title: Users}\nservers: [{url: /v1}]\npaths:\n  /users/{user}:\n    get:\n      operationId: one\n      responses: {'200': {}}\n    trace: {}\n"
    ));
}

#[test]
fn servers_and_parameters_may_have_odd_names() {
    let text = import(
        "openapi",
        "openapi: 3.0.3
servers: [{url: 'https://{region}.shop.example:{port}/v1', variables: {region: {default: eu}, port: {default: 8443}}}]
paths: {'/a/{1st}/{env}/{}': {get: {responses: {'200': {}}}}}
",
    );
    assert!(
        text.contains("base_url: https://eu.shop.example:8443/v1\n"),
        "{text}"
    );
    assert!(text.contains("get: /a/{{ _1st }}/{{ env_ }}/{{ _ }}\n"), "{text}");
    let text = import(
        "openapi",
        "openapi: 3.0.3\nservers: [{url: v1}]\npaths: {/a: {get: {}}}\n",
    );
    assert!(text.contains("base_url: http://localhost/v1\n"), "{text}");
}

#[test]
fn endless_files_are_not_read() {
    for arguments in [&["import", "har", "/dev/zero"][..], &["/dev/zero", "--plan"][..]] {
        let output = Command::new(env!("CARGO_BIN_EXE_reveille-load"))
            .args(arguments)
            .output()
            .expect("started");
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(" MiB"), "{said}");
    }
}
