//! Texts and the filters that they parse to, and the places of errors.

use super::*;

/// The selectors of one filter in a canonical spelling.
fn parsed(text: &str) -> String {
    let spell = |selector: Selector| match selector.comparison {
        None => format!("{:?}", selector.path),
        Some(comparison) => format!("{:?} {:?} {:?}", selector.path, comparison.operator, comparison.value),
    };
    parse::selectors(text)
        .map_or_else(|error| error.to_string(), |all| all.into_iter().map(spell).collect::<Vec<_>>().join("; "))
}

#[test]
fn what_containerd_accepts_parses_to_the_same() {
    for (text, expected) in GOOD.iter().copied() {
        assert_eq!(expected, parsed(text), "{text:?}");
    }
}

#[test]
fn an_invalid_filter_is_refused_with_its_place() {
    for (text, position, reason) in BAD.iter().copied() {
        let Err(Error::InvalidFilter { text: told, position: at, reason: why }) = Filter::compile(&["ok", text]) else {
            panic!("{text:?} compiled, or gave another error");
        };

        assert_eq!((text, position), (told.as_str(), at), "{text:?}: {why}");
        assert!(why.contains(reason), "{text:?}: {why}");
    }
}

/// A filter, and its selectors in the spelling of `parsed`.
const GOOD: &[(&str, &str)] = &[
    ("ref", r#"["ref"]"#),
    ("a.b.c", r#"["a", "b", "c"]"#),
    ("A_1.9", r#"["A_1", "9"]"#),
    ("a,b,c==d", r#"["a"]; ["b"]; ["c"] Equal "d""#),
    ("a==b", r#"["a"] Equal "b""#),
    ("a!=b", r#"["a"] NotEqual "b""#),
    ("a~=b", r#"["a"] Matches "b""#),
    (r#"labels."io.x/y-z"==v"#, r#"["labels", "io.x/y-z"] Equal "v""#),
    (r#""a"."b"=="c""#, r#"["a", "b"] Equal "c""#),
    (r#""".a==b"#, r#"["", "a"] Equal "b""#),
    // A value runs to the next comma or space, whatever else it holds.
    ("a==b.c-d_e:f@g/h|i\"j'k=l!m~n<o>p(q)", r#"["a"] Equal "b.c-d_e:f@g/h|i\"j'k=l!m~n<o>p(q)""#),
    ("a~=.*", r#"["a"] Matches ".*""#),
    ("a==<b", r#"["a"] Equal "<b""#),
    ("a==>=b", r#"["a"] Equal ">=b""#),
    ("a=='b'", r#"["a"] Equal "'b'""#),
    ("a==é∑中", r#"["a"] Equal "é∑中""#),
    ("a~=^x{1}$,b", r#"["a"] Matches "^x{1}$"; ["b"]"#),
    (r"a~=\d+", r#"["a"] Matches "\\d+""#),
    // Quotes hide commas, spaces and operators. / and | quote the value of ~=.
    (r#"a=="b, c==d ",e"#, r#"["a"] Equal "b, c==d "; ["e"]"#),
    (r#"a~="b""#, r#"["a"] Matches "b""#),
    ("a~=/b,c/,d", r#"["a"] Matches "b,c"; ["d"]"#),
    ("a~=|b/c|", r#"["a"] Matches "b/c""#),
    (r"a~=/b\/c/", r#"["a"] Matches "b/c""#),
    (r#"a=="""#, r#"["a"] Equal """#),
    // Spaces may stand before any token but a comma or the dot.
    (" a == b, c", r#"["a"] Equal "b"; ["c"]"#),
    ("a. b", r#"["a", "b"]"#),
    ("\ta\n==\u{a0}b", r#"["a"] Equal "b""#),
    // Escapes are Go's.
    (r#"a=="\a\b\f\n\r\t\v\\\"""#, r#"["a"] Equal "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"""#),
    (r#"a=="\101\x41\u0041\U00000041""#, r#"["a"] Equal "AAAA""#),
    (r#"a=="\xc3\xa9\303\251\U0001F600""#, r#"["a"] Equal "éé😀""#),
    // Ours.
    ("size<=1", r#"["size"] LessOrEqual "1""#),
    ("size < 1,size>2,size >=3", r#"["size"] Less "1"; ["size"] Greater "2"; ["size"] GreaterOrEqual "3""#),
];

/// Texts that are not filters, the place of the error, and a part of the reason.
const BAD: &[(&str, usize, &str)] = &[
    (" ", 1, "expected a field"),
    (",", 0, "expected a field"),
    ("a,", 2, "expected a field"),
    ("a,,b", 2, "expected a field"),
    ("a.", 2, "expected a field"),
    (".a", 0, "expected a field"),
    ("==b", 0, "expected a field"),
    ("?a", 0, "expected a field"),
    ("é==b", 0, "expected a field"),
    ("^x", 0, "expected a field"),
    ("'a'==b", 0, "expected a field"),
    ("a b", 2, "expected an operator"),
    ("a .b", 2, "expected an operator"),
    ("a ,b", 2, "expected an operator"),
    ("a ", 2, "expected an operator"),
    ("a-b==c", 1, "stands in \"\""),
    ("labels.io/x==c", 9, "stands in \"\""),
    ("a/b/==c", 1, "stands in \"\""),
    ("/a/==b", 0, "only \" quotes a field"),
    ("labels.|a|==b", 7, "only \" quotes a field"),
    ("a=b", 1, "no such operator: ="),
    ("a===b", 1, "no such operator: ==="),
    ("a=!b", 1, "no such operator: =!"),
    ("a=~b", 1, "no such operator: =~"),
    ("a!b", 1, "no such operator: !"),
    ("size=<1", 4, "no such operator: ="),
    ("size<==1", 4, "no such operator: <=="),
    ("size<>1", 4, "no such operator: <>"),
    ("size><=1", 4, "no such operator: ><="),
    ("a==", 3, "expected a value"),
    ("a== ", 4, "expected a value"),
    ("a==,b", 3, "expected a value"),
    ("a== =b", 4, "expected a value"),
    ("a==/b", 3, "quote only the value of ~="),
    ("a!=|b|", 3, "quote only the value of ~="),
    ("a==b ", 4, "expected a comma or the end"),
    ("a==b ,c", 4, "expected a comma or the end"),
    ("a==b c", 4, "expected a comma or the end"),
    (r#"a=="b"c"#, 6, "expected a comma or the end"),
    (r#"a=="b" "#, 6, "expected a comma or the end"),
    ("a==\u{200b}", 3, "expected a value"),
    ("a==b\u{7f}", 4, "expected a comma or the end"),
    (r#"a=="b"#, 3, "not closed"),
    ("a~=/b", 3, "not closed"),
    ("a==\"b\nc\"", 3, "not closed"),
    (r#"a=="b\""#, 3, "not closed"),
    (r#"é"a"#, 0, "expected a field"),
    (r#"a=="é\d""#, 5, "no such escape"),
    (r"a~=/\d/", 4, "no such escape"),
    (r#"a~=/\"/"#, 4, "no such escape"),
    (r#"a=="\'""#, 4, "no such escape"),
    (r#"a=="\08""#, 4, "too few digits"),
    (r#"a=="\400""#, 4, "at most"),
    (r#"a=="\x4""#, 4, "too few digits"),
    (r#"a=="\u12""#, 4, "too few digits"),
    (r#"a=="\ud800""#, 4, "not a Unicode character"),
    (r#"a=="\U00110000""#, 4, "not a Unicode character"),
    (r#"a=="\xff""#, 8, "do not make UTF-8"),
    ("\0", 0, "NUL"),
    ("a\0", 1, "NUL"),
    ("a==\0", 3, "NUL"),
    ("a==b\0", 4, "NUL"),
    ("a==\"b\0\"", 5, "NUL"),
    ("a==b\u{fffd}", 4, "not valid Unicode"),
    ("a==\"\u{fffd}\"", 4, "not valid Unicode"),
    ("a~=(", 3, "bad regular expression: unclosed group"),
    ("x,labels.a~=/*/", 12, "bad regular expression"),
    ("a~=.{999}{999}{999}", 3, "bad regular expression"),
    ("digest<5", 6, "digest is text"),
    ("labels.size >= 5", 12, "labels.size is text"),
    ("size~=5", 4, "size is a size"),
    ("created_at~=2026", 10, "created_at is a time"),
    ("size==abc", 6, "number of bytes"),
    ("size>1KB", 5, "number of bytes"),
    ("size>-1", 5, "number of bytes"),
    ("size>KiB", 5, "number of bytes"),
    ("size>123456789012345678901", 5, "number of bytes"),
    ("total==1.5MiB", 7, "number of bytes"),
    ("offset!=\"\"", 8, "number of bytes"),
    ("created_at>yesterday", 11, "RFC 3339"),
    ("updated_at>2026-01-31", 11, "RFC 3339"),
];
