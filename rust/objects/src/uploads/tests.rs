//! Listings of uploads: pages, and answers that are no listing.

use super::parse;
use crate::error::Kind;
use crate::operation::{Upload, UploadMarker, UploadPage};

fn listing(rest: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Bucket>bucket</Bucket>{rest}</ListMultipartUploadsResult>"
    )
}

fn row(key: &str, id: &str, initiated: &str) -> String {
    format!(
        "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Owner><ID>1</ID></Owner><Initiated>{initiated}</Initiated></Upload>"
    )
}

#[test]
fn a_page_has_its_uploads_and_its_end() {
    let found = parse(&listing(&format!(
        "<NextKeyMarker>b&amp;c</NextKeyMarker>{}<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>{}\
         <IsTruncated>true</IsTruncated><NextUploadIdMarker>2</NextUploadIdMarker>",
        row("a", "1", "2026-11-28T10:00:00.5Z"),
        row("b&amp;c", "2", "1970-01-01T01:00:01+01:00"),
    )));

    let upload = |key: &str, id: &str, begun_ns| Upload { key: key.to_owned(), id: id.to_owned(), begun_ns };
    let expected = UploadPage {
        uploads: vec![upload("a", "1", 1_795_860_000_500_000_000), upload("b&c", "2", 1_000_000_000)],
        next: Some(UploadMarker::Key("b&c".to_owned())),
    };
    assert_eq!(Ok(expected), found);
}

#[test]
fn a_page_without_uploads_is_empty() {
    let found = parse(&listing("<IsTruncated>false</IsTruncated><NextKeyMarker>a</NextKeyMarker>"));

    assert_eq!(Ok(UploadPage { uploads: Vec::new(), next: None }), found);
}

#[test]
fn a_server_that_orders_by_id_ends_its_page_at_one() {
    let found = parse(&listing("<IsTruncated>true</IsTruncated><NextUploadIdMarker>2</NextUploadIdMarker>"));

    assert_eq!(Some(Some(UploadMarker::Id("2".to_owned()))), found.ok().map(|page| page.next));
}

#[test]
fn an_answer_that_is_no_listing_is_refused() {
    let answers = [
        "no XML".to_owned(),
        listing("<IsTruncated>true</IsTruncated><NextKeyMarker></NextKeyMarker>"),
        listing("<IsTruncated>perhaps</IsTruncated>"),
        listing(&row("a", "1", "yesterday")),
        listing("<Upload><Key>a</Key></Upload>"),
        listing("<Upload>"),
    ];
    for answer in answers {
        assert_eq!(Some(Kind::Refused), parse(&answer).err().map(|error| error.kind), "{answer}");
    }
}
