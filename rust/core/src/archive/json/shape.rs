//! The fields that readers of a document know, and the spellings of them that are refused.
//!
//! Go's decoder accepts a field name that is equal under Unicode's simple case folding, and uses the last of several such fields.
//! So `"LAYERS"`, and `"layerſ"` with U+017F, would be `layers` in Go and an unknown field here. Keys of maps, such as
//! annotations, are data: they have no shape and are never compared.

use std::sync::Arc;

/// The fields of an object, and the shapes of the objects in them.
#[derive(Debug)]
pub struct Shape {
    name: String,
    fields: Vec<(String, Option<Arc<Self>>)>,
    foreign: Vec<String>,
}

/// The meaning of a key in an object of some shape.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// A field, with the shape of its values if they have one.
    Field(Option<&'a Shape>),
    /// A field of another kind of document: a reader could take this document for one of that kind.
    Foreign,
    /// A field in another spelling.
    Misspelled(&'a str),
    /// A key that no reader knows.
    Unknown,
}

impl Shape {
    /// Return a shape. In an array, each element has the shape of the array.
    ///
    /// `name` is the name of such an object in messages, `fields` are its fields with the shape of their values, and
    /// `foreign` are fields that must be absent or null.
    pub fn new(name: String, fields: Vec<(String, Option<Arc<Self>>)>, foreign: Vec<String>) -> Self {
        Self { name, fields, foreign }
    }

    /// The name of such an object in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn look_up(&self, key: &str) -> Known<'_> {
        if let Some((_, shape)) = self.fields.iter().find(|(field, _)| field == key) {
            return Known::Field(shape.as_deref());
        }
        if self.foreign.iter().any(|field| field == key) {
            return Known::Foreign;
        }
        let names = self.fields.iter().map(|(field, _)| field).chain(&self.foreign);
        names.into_iter().find(|name| folds_alike(key, name)).map_or(Known::Unknown, |name| Known::Misspelled(name))
    }
}

/// Whether a key is a field's name, which is ASCII, under simple case folding.
pub(super) fn folds_alike(key: &str, field: &str) -> bool {
    key.chars().map(fold).eq(field.chars().map(fold))
}

/// Fold a character. Only two characters outside ASCII fold to one of ASCII.
fn fold(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_simple_fold_of_a_field_is_another_spelling_of_it() {
        let shape = Shape::new("it".into(), vec![("layersK".into(), None)], vec!["other".into()]);

        assert!(matches!(shape.look_up("layersK"), Known::Field(None)));
        assert!(matches!(shape.look_up("other"), Known::Foreign));
        for key in ["LAYERSk", "layer\u{17f}K", "layers\u{212a}", "LayerS\u{212a}", "OTHER"] {
            assert!(matches!(shape.look_up(key), Known::Misspelled(_)), "{key}");
        }
        for key in ["", "layers", "layersKK", "layersß", "lâyersK", "\u{130}", "layer\u{15f}K"] {
            assert!(matches!(shape.look_up(key), Known::Unknown), "{key}");
        }
    }
}
