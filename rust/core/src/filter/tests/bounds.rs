//! Lists that would cost too much, and what is still allowed.

use super::*;

/// The reason for which a list is refused, and the place.
fn refused(texts: &[String]) -> (usize, String) {
    match Filter::compile(texts) {
        Err(Error::InvalidFilter { position, reason, .. }) => (position, reason),
        other => panic!("expected a refusal, found {}", if other.is_ok() { "a filter" } else { "another error" }),
    }
}

fn expressions(expression: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("digest~={expression}x{number}")).collect()
}

#[test]
fn a_list_is_bounded_in_number_and_length() {
    assert!(Filter::compile(&vec!["size==1"; MAX_FILTERS]).is_ok());
    assert_eq!(
        refused(&vec!["size==1".to_owned(); MAX_FILTERS + 1]),
        (0, "a list of 1001 filters, at most 1000 are allowed".to_owned())
    );

    let long = |size: usize| vec!["a==b".to_owned(), format!("a=={}", "b".repeat(size - 7))];
    assert!(Filter::compile(&long(MAX_TEXT)).is_ok());
    assert_eq!(
        refused(&long(MAX_TEXT + 1)),
        (0, "the filters of the list have 32769 bytes together, at most 32768 are allowed".to_owned())
    );
}

#[test]
fn an_expression_is_bounded_in_length_and_nesting() {
    assert!(Filter::compile(&[format!("a~={}", "b".repeat(MAX_EXPRESSION))]).is_ok());
    let (at, reason) = refused(&[format!("a~={}", "b".repeat(MAX_EXPRESSION + 1))]);
    assert_eq!((3, "regular expression of 2049 bytes, at most 2048 are allowed"), (at, reason.as_str()));

    let nested = |levels: usize| vec![format!("a~=/{}b{}/", "(".repeat(levels), ")".repeat(levels))];
    assert!(Filter::compile(&nested(MAX_NESTING as usize)).is_ok());
    let (at, reason) = refused(&nested(MAX_NESTING as usize + 1));
    assert_eq!(3, at);
    assert!(reason.starts_with("bad regular expression: ") && reason.contains("(100)"), "{reason}");
}

#[test]
fn all_expressions_of_a_list_share_one_budget() {
    for (expression, fit) in [(r"\w{8}", 8), (r"\w{30}", 1), ("^sha256:(ab){32}$", 100), ("(a|b|c|d){100}", 100)] {
        assert!(Filter::compile(&expressions(expression, fit)).is_ok(), "{expression}");
    }
    for (expression, count) in [(r"\w{100}", 1), (r"\w{8}", 40), (r"(((\w?){50}){50}){50}", 1), ("[a-z]{900}", 100)] {
        let (at, reason) = refused(&expressions(expression, count));
        assert!(at == 8 && reason.contains("at most 4096 KiB"), "{expression}: {at} {reason}");
    }
}
