//! Filters and the values that they match.

use super::*;

/// Filters, and the labels that an index may be asked for.
type Row<'a> = (&'a [&'a str], Option<Vec<(String, String)>>);

fn check(subject: &dyn Subject, table: &[(&[&str], bool)]) {
    for (texts, expected) in table {
        assert_eq!(*expected, Filter::compile(texts).unwrap().matches(subject), "{texts:?}");
    }
}

#[test]
fn text_matches_as_in_containerd() {
    check(
        &info(),
        &[
            (&[], true),
            (&[""], true),
            (&["nothing", ""], true),
            (&["nothing"], false),
            (&["digest"], true),
            (&["digest.x"], false),
            (&["digest~=^sha256:ab"], true),
            (&["digest==sha256:ab"], false),
            (&["labels.a==1"], true),
            (&["labels.a==2"], false),
            (&["labels.a==2", "labels.a==1"], true),
            (&["labels.a==1,labels.missing"], false),
            (&["labels.a==1,labels.empty"], true),
            (&["labels.a.b==dotted"], true),
            (&["labels.\"a.b\"==dotted"], true),
            (&["labels.\"io.x/y\"==z"], true),
            (&["labels"], false),
            (&["labels==1"], false),
            (&["labels.empty==\"\""], true),
            (&["labels.missing==\"\""], false),
            (&["labels.missing!=1"], true),
            (&["labels.a!=1"], false),
            (&["labels.missing~=.*"], true),
            (&["labels.missing~=.+"], false),
            (&["labels.a.b~=ott"], true),
            (&["labels.a.b~=^ott"], false),
            (&["ref"], false),
            (&["ref!=x"], true),
        ],
    );
}

#[test]
fn sizes_and_times_compare_as_numbers() {
    check(
        &info(),
        &[
            (&["size"], true),
            (&["size==4096"], true),
            (&["size==4KiB"], true),
            (&["size==04096"], true),
            (&["size!=4KiB"], false),
            (&["size!=5"], true),
            (&["size<4096"], false),
            (&["size<=4096"], true),
            (&["size>4095"], true),
            (&["size>=1MiB"], false),
            (&["size<1GiB,size<99999999999999999999TiB"], true),
            (&["size > 1KiB, size < \"5000\""], true),
            (&["created_at==2026-01-31T12:00:00Z"], true),
            (&["created_at==2026-01-31T12:00:00.000000999Z"], true),
            (&["created_at==2026-01-31T13:30:00+01:30"], true),
            (&["created_at==2026-01-31t04:00:00.0-08:00"], true),
            (&["created_at>2026-01-31T12:00:00Z"], false),
            (&["created_at>=2026-01-31T12:00:00z"], true),
            (&["created_at<2026-01-31T12:00:00.000001Z"], true),
            (&["updated_at==2026-01-31T12:00:01.500000Z"], true),
            (&["updated_at!=2026-01-31T12:00:01.500001Z"], true),
            (&["created_at>1970-01-01T00:00:00Z,created_at<9999-12-31T23:59:59Z"], true),
            // Fields that a blob has not are absent, whatever they would hold.
            (&["offset>=0"], false),
            (&["offset==0"], false),
            (&["offset!=0"], true),
            (&["started_at"], false),
        ],
    );
    check(
        &status(),
        &[
            (&["ref==layer/1"], true),
            (&["offset>9,offset<11"], true),
            (&["total"], false),
            (&["total>0"], false),
            (&["total!=0"], true),
            (&["expected~=^sha256"], true),
            (&["started_at<1970-01-01T00:00:00Z"], true),
            (&["started_at==1969-12-31T23:59:59.999999Z"], true),
            (&["updated_at<=2026-01-31T12:00:00Z"], true),
            (&["digest"], false),
        ],
    );
}

#[test]
fn times_that_no_calendar_has_are_refused() {
    for wrong in [
        "2026-02-29T00:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "0000-01-01T00:00:00Z",
    ] {
        assert!(Filter::compile(&[format!("created_at=={wrong}")]).is_err(), "{wrong}");
    }
    for right in ["2024-02-29T00:00:00Z", "2000-02-29t23:59:59.123456789-23:59", "0001-01-01T00:00:00z"] {
        assert!(Filter::compile(&[format!("created_at=={right}")]).is_ok(), "{right}");
    }
}

#[test]
fn a_list_of_labels_is_given_only_where_it_is_complete() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let table: &[Row<'_>] = &[
        (&[], None),
        (&["", "labels.a==1"], None),
        (&["labels.a==1"], Some(vec![pair("a", "1")])),
        (&["size>5,labels.a.b==1,labels.c==2"], Some(vec![pair("a.b", "1")])),
        (&["labels.a==1", "labels.b==2"], Some(vec![pair("a", "1"), pair("b", "2")])),
        (&["labels.a==1", "labels.a==1,size>5"], Some(vec![pair("a", "1")])),
        (&["labels.a==1", "size>5"], None),
        (&["labels.a!=1"], None),
        (&["labels.a"], None),
        (&["labels.a~=1"], None),
        (&["labels==1"], None),
        (&["digest==1"], None),
    ];
    for (texts, expected) in table {
        assert_eq!(*expected, Filter::compile(texts).unwrap().indexed_label(), "{texts:?}");
    }
}
