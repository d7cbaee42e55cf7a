//! The language held against Go's own implementation, whose answers are recorded in
//! `testdata/tokens/templates/vectors.json` (the generator stands beside it).

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(serde::Deserialize)]
struct Vectors {
    data: BTreeMap<String, String>,
    templates: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    template: String,
    output: Option<String>,
    #[serde(default)]
    parse: bool,
    #[serde(default)]
    execute: bool,
}

fn render(text: &str, data: &BTreeMap<String, String>) -> Result<String, String> {
    let template = Template::parse(text)
        .map_err(|error| error.to_string())?
        .ok_or("blank")?;
    let values = |name: &str| data.get(name).map(|value| Cow::Borrowed(value.as_str()));
    template
        .render(&values)
        .map_err(|error| format!("render: {error}"))
}

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What Go understands and this language refuses, each as it stands among the vectors.
const REFUSED: [&str; 25] = [
    "{{.}}",
    "{{1}}",
    "{{.9}}",
    "{{'a'}}",
    "{{true}}",
    "{{eq true (not .a)}}",
    "{{print .a}}",
    "{{len .a}}",
    "{{.a | not}}",
    "{{$x := .a}}{{$x}}",
    "{{$}}",
    "{{with .a}}x{{end}}",
    "{{range .a}}x{{end}}",
    "{{define \"x\"}}{{end}}",
    "{{block \"x\" .}}{{end}}",
    "{{printf \"%s\" .a}}",
    "{{slice .a 0}}",
    "{{html .amp}}",
    "{{js .amp}}",
    "{{urlquery .amp}}",
    "{{lt .a .b}}",
    "{{if .}}x{{end}}",
    "{{not .}}",
    "{{index .}}",
    "{{}}",
];

/// Mistakes that Go notices only when the action is executed.
fn late_in_go(error: &str) -> bool {
    error.contains("wrong number of arguments")
        || error.contains("a value has no members")
        || error.contains("must be text")
}

#[test]
fn a_template_that_means_something_else_than_in_go() {
    let text = include_str!("../../../testdata/tokens/templates/vectors.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let (mut same, mut refused, mut late) = (0, 0, 0);
    for vector in &vectors.templates {
        if !vector.template.contains("{{") {
            continue;
        }
        let ours = render(&vector.template, &vectors.data);
        if let Some(theirs) = &vector.output {
            if REFUSED.contains(&vector.template.as_str()) {
                assert!(
                    Template::parse(&vector.template).is_err(),
                    "{:?} must be refused when it is read",
                    vector.template
                );
                refused += 1;
            } else if matches!(&ours, Err(error) if late_in_go(error)) {
                // Here Go went another way and never got there.
                late += 1;
            } else {
                assert_eq!(ours.as_ref(), Ok(theirs), "{:?}", vector.template);
                same += 1;
            }
        } else {
            assert!(vector.parse || vector.execute);
            assert!(ours.is_err(), "{:?} gave {ours:?}", vector.template);
            if vector.parse {
                assert!(
                    Template::parse(&vector.template).is_err(),
                    "{:?} must be refused when it is read, not when it is used",
                    vector.template
                );
            }
        }
    }
    assert!(same > 250, "{same} templates with output");
    assert!(late < 100, "{late} mistakes found earlier than in Go");
    assert!(refused > 20, "{refused} unsupported templates");
}

#[test]
fn a_text_without_braces_is_taken_literally_instead_of_looked_up() {
    let data = data(&[("sha", "abc"), ("a b", "spaced"), (" sha", "other")]);
    assert_eq!(render("sha", &data).unwrap(), "abc");
    assert_eq!(render("a b", &data).unwrap(), "spaced");
    assert_eq!(render(" sha", &data).unwrap(), "other");
    assert!(render("shb", &data).unwrap_err().contains("\"shb\""));
}

#[test]
fn a_blank_template_becomes_an_empty_value() {
    for blank in ["", " ", "\n\t"] {
        assert_eq!(Template::parse(blank), Ok(None), "{blank:?}");
    }
}

#[test]
fn an_error_shows_the_value_of_a_claim() {
    let data = data(&[("secret", "hunter2"), ("other", "hunter3")]);
    for template in [
        "{{.secret}}{{.gone}}",
        "{{eq .secret (not .other)}}",
        "gone",
        "{{if .secret}}{{index . (or (not .other) .other)}}{{.gone}}{{end}}",
    ] {
        let error = render(template, &data).unwrap_err();
        assert!(error.starts_with("render:"), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[test]
fn the_refusal_does_not_say_where_and_what() {
    for (template, at, word) in [
        ("refs/{{range .a}}x{{end}}", 8, "range"),
        ("{{ .a }}{{ printf \"%s\" .a }}", 12, "printf"),
        ("{{ .a-b }}", 6, "index"),
        ("{{ .a | not }}", 7, "pipes"),
        ("x{{$v}}", 4, "variables"),
        ("{{if .a}}x", 1, "`end`"),
        ("{{ true }}", 4, "true"),
        ("{{eq .a}}", 3, "arguments"),
    ] {
        let error = Template::parse(template).unwrap_err();
        assert_eq!(error.at, at, "{template}: {error}");
        assert!(error.reason.contains(word), "{template}: {error}");
    }
}

#[test]
fn a_deep_or_long_template_exhausts_stack_or_memory() {
    let deep = format!("{{{{ {}.a{} }}}}", "(".repeat(500), ")".repeat(500));
    assert!(Template::parse(&deep).unwrap_err().reason.contains("deep"));
    let ifs = "{{if .a}}".repeat(100) + &"{{end}}".repeat(100);
    assert!(Template::parse(&ifs).unwrap_err().reason.contains("deep"));
    assert!(Template::parse(&"x".repeat(5000)).is_err());
    let data = data(&[("a", &"y".repeat(8000))]);
    assert!(render(&"{{.a}}".repeat(600), &data).is_err());
}

proptest! {
    #[test]
    fn some_text_makes_the_reader_panic(text in "(\\{\\{|\\}\\}|-| |\\.|[a-z]|\"|`|\\(|\\)|\\\\|/\\*|\\*/|if|else|end|eq|é|\\PC){0,40}") {
        if let Ok(Some(template)) = Template::parse(&text) {
            let values = |name: &str| name.len().is_multiple_of(2).then(|| Cow::Owned(name.to_owned()));
            drop(template.render(&values));
        }
    }
}
