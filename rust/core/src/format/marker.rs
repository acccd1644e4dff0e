//! The marker `steelyard.json`: a root with a marker is complete, and has the format in the marker.

/// The format of a new root.
pub(crate) const FORMAT: u64 = 1;

/// The format of a root from its first collection on. It differs from the first format in a duty of writers: they remove the
/// note of a blob before they rely on the blob. So releases that know only the first format must refuse the root.
pub(crate) const COLLECTED: u64 = 2;

/// The content of a new marker.
pub(crate) const TEXT: &str = "{\"format\": 1}\n";

/// The most bytes that are read of a marker: more than any marker needs.
pub(crate) const LIMIT: usize = 4096;

/// The content of a marker from the first collection on. `id` is the ID in the root's `meta.db`, in hex digits.
pub(crate) fn collected(id: &str) -> String {
    format!("{{\"format\": {COLLECTED}, \"id\": \"{id}\"}}\n")
}

/// Find the ID that the marker shares with `meta.db`.
pub(crate) fn id_of(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("\"id\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(id, _)| id)
}

/// Find the number of `"format"`. Other keys are ignored; later formats may use them.
pub(crate) fn format_of(text: &str) -> Option<u64> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (_, after) = inside.split_once("\"format\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    let end = value.find(|character: char| !character.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_whatever_else_is_there() {
        assert_eq!(format_of(TEXT), Some(FORMAT));
        assert_eq!(format_of("{\"x\": [1], \"format\" : 23, \"y\": {}}"), Some(23));
    }

    #[test]
    fn a_collected_root_has_an_id() {
        let text = collected("00ff");

        assert_eq!((format_of(&text), id_of(&text)), (Some(COLLECTED), Some("00ff")));
        assert_eq!(id_of(TEXT), None);
    }

    #[test]
    fn a_damaged_marker_has_no_format() {
        for text in ["", "{", "{}", "null", "{\"format\": \"1\"}", "{\"format\": 1", "\0\0\0"] {
            assert_eq!(format_of(text), None, "{text:?}");
        }
    }
}
