//! The marker `steelyard.json`: a root with a marker is complete, and of the format that it names.

/// The format that this release reads and writes.
pub(crate) const FORMAT: u64 = 1;

/// The content of a new marker.
pub(crate) const TEXT: &str = "{\"format\": 1}\n";

/// More bytes than any marker needs.
pub(crate) const LIMIT: usize = 4096;

/// Find the number of `"format"`; other keys are for later formats to use.
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
    fn a_damaged_marker_has_no_format() {
        for text in ["", "{", "{}", "null", "{\"format\": \"1\"}", "{\"format\": 1", "\0\0\0"] {
            assert_eq!(format_of(text), None, "{text:?}");
        }
    }
}
