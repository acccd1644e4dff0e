//! The blobs that a document names: an index names its manifests; a manifest names its config, its layers and its subject.
//!
//! Garbage collection keeps the blobs that a kept document names. So if readers could disagree, this reader finds more blobs: it
//! accepts a field under every spelling that some reader accepts, and uses both values of a field that occurs twice.

use std::cell::RefCell;
use std::fmt;

use serde_core::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::shape::folds_alike;
use crate::digest::Digest;

/// The most bytes of a document. A larger blob names nothing.
pub const DOCUMENT_LIMIT: u64 = 16 << 20;

/// The beginnings and ends of the media types of documents: OCI's, and Docker's of both schemas.
const DOCUMENTS: [(&str, &[&str]); 2] = [
    ("application/vnd.oci.", &["image.index.v1+json", "image.manifest.v1+json", "artifact.manifest.v1+json"]),
    (
        "application/vnd.docker.distribution.",
        &["manifest.list.v2+json", "manifest.v2+json", "manifest.v1+json", "manifest.v1+prettyjws"],
    ),
];

/// The relation of a blob to the document that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A part of it, of any kind.
    Part,
    /// A part of it that is a document, by its media type.
    Document,
    /// The image to which the document refers, for example as its signature.
    Subject,
}

/// A blob that a document names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The blob.
    pub digest: Digest,
    /// Its relation to the document.
    pub role: Role,
}

/// The references of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The blobs, in their order. One may occur twice.
    pub blobs: Vec<Reference>,
    /// The number of digests that are invalid or of an unsupported algorithm.
    pub invalid: usize,
}

/// Whether a blob that begins with these bytes may be a document.
pub fn may_be_document(head: &[u8]) -> bool {
    match head.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        Some(first) => *first == b'{',
        None => !head.is_empty(),
    }
}

/// Whether blobs of this media type are documents.
pub fn is_document(media_type: &str) -> bool {
    let ends = |(begin, ends): &(&str, &[&str])| media_type.strip_prefix(begin).is_some_and(|end| ends.contains(&end));
    DOCUMENTS.iter().any(ends)
}

/// Return the references of a document; `None` if it is not JSON.
pub fn references(data: &[u8]) -> Option<References> {
    let found = RefCell::default();
    let mut parser = serde_json::Deserializer::from_slice(data);
    Finder { seek: Seek::Document, found: &found }.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(found.into_inner())
}

/// The kinds of references that a value may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seek {
    Document,
    Parts,
    Subject,
    Nothing,
}

impl Seek {
    /// The meaning of a field of a document.
    fn of_field(key: &str) -> Self {
        let is = |field| folds_alike(key, field);
        if ["manifests", "config", "layers", "blobs", "fsLayers"].into_iter().any(is) {
            Self::Parts
        } else if is("subject") {
            Self::Subject
        } else {
            Self::Nothing
        }
    }
}

/// Looks for descriptors in a value.
#[derive(Clone, Copy)]
struct Finder<'a> {
    seek: Seek,
    found: &'a RefCell<References>,
}

impl Finder<'_> {
    fn add(self, text: &str, media_type: Option<&str>) {
        let mut found = self.found.borrow_mut();
        let Ok(digest) = Digest::parse(text) else {
            found.invalid += 1;
            return;
        };
        let role = match self.seek {
            Seek::Subject => Role::Subject,
            _ if media_type.is_some_and(is_document) => Role::Document,
            _ => Role::Part,
        };
        found.blobs.push(Reference { digest, role });
    }
}

impl<'de> DeserializeSeed<'de> for Finder<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.seek {
            Seek::Nothing => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let seek = if self.seek == Seek::Document { Seek::Nothing } else { self.seek };
        while items.next_element_seed(Self { seek, ..self })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (mut digests, mut media_type) = (Vec::new(), None);
        while let Some(key) = members.next_key::<String>()? {
            let is = |field| folds_alike(&key, field);
            if self.seek == Seek::Document {
                members.next_value_seed(Self { seek: Seek::of_field(&key), ..self })?;
            } else if is("digest") || is("blobSum") {
                digests.extend(members.next_value_seed(Text)?);
            } else if is("mediaType") {
                media_type = members.next_value_seed(Text)?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        for digest in digests {
            self.add(&digest, media_type.as_deref());
        }
        Ok(())
    }
}

/// A text; None for any other value.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<String>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<String>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    fn found(text: &str) -> Vec<(String, Role)> {
        let found = references(text.as_bytes()).unwrap();
        found.blobs.iter().map(|reference| (reference.digest.to_string(), reference.role)).collect()
    }

    #[test]
    fn an_index_names_its_manifests_and_a_manifest_its_parts() {
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let [one, two] = [digest(1), digest(2)];
        let index = format!(r#"{{"manifests":[{{"mediaType":"{manifest}","digest":"{one}"}},{{"digest":"{two}"}}]}}"#);
        assert_eq!(vec![(one.clone(), Role::Document), (two.clone(), Role::Part)], found(&index));

        let text = format!(
            r#"{{"config":{{"digest":"{one}","size":1}},"layers":[{{"digest":"{two}"}}],"subject":{{"digest":"{one}"}}}}"#
        );
        assert_eq!(vec![(one.clone(), Role::Part), (two, Role::Part), (one.clone(), Role::Subject)], found(&text));
        assert_eq!(vec![(one.clone(), Role::Part)], found(&format!(r#"{{"fsLayers":[{{"blobSum":"{one}"}}]}}"#)));
    }

    #[test]
    fn what_some_reader_takes_for_a_reference_counts() {
        let [one, two] = [digest(1), digest(2)];
        let text = format!(
            r#"{{"layer\u017f":[{{"DIGEST":"{one}","x":{{"digest":"{two}"}}}}],"layers":[{{"digest":"{two}"}}]}}"#
        );
        assert_eq!(vec![(one, Role::Part), (two, Role::Part)], found(&text));
    }

    #[test]
    fn other_json_names_nothing_and_other_bytes_are_no_document() {
        let one = digest(1);
        for text in [
            "{}".to_owned(),
            format!(r#"[{{"digest":"{one}"}}]"#),
            format!(r#"{{"config":"{one}","layers":{{"a":[1]}},"subject":null,"manifests":[[1],2,{{"digest":[3]}}]}}"#),
            format!(r#"{{"other":[{{"digest":"{one}"}}]}}"#),
        ] {
            assert_eq!(Vec::<(String, Role)>::new(), found(&text), "{text}");
        }
        for text in ["", "{", "{} {}", "\0", "{\"layers\": [}"] {
            assert_eq!(None, references(text.as_bytes()), "{text}");
        }
        let deep = format!("{{\"layers\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(None, references(deep.as_bytes()));
    }

    #[test]
    fn an_invalid_digest_is_counted_and_names_nothing() {
        let text = format!(r#"{{"layers":[{{"digest":"sha256:ab"}},{{"digest":"sha1:{0}"}}]}}"#, "0".repeat(40));
        assert_eq!(Some(References { invalid: 2, blobs: Vec::new() }), references(text.as_bytes()));
    }

    #[test]
    fn a_document_is_known_by_its_first_character_and_its_media_type() {
        for head in ["{", " \n\t\r{\"", "   "] {
            assert!(may_be_document(head.as_bytes()), "{head:?}");
        }
        for head in ["", "[", "x{", "\u{feff}{"] {
            assert!(!may_be_document(head.as_bytes()), "{head:?}");
        }
        assert!(is_document("application/vnd.docker.distribution.manifest.list.v2+json"));
        assert!(!is_document("application/vnd.oci.image.config.v1+json"));
    }
}
