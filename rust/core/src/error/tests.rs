use super::*;

#[test]
fn messages_are_those_of_python_and_an_io_error_keeps_its_number_and_path() {
    let name = Some("layer".to_owned());
    let error = Error::UnexpectedSize { expected: 3, actual: 4, name };
    assert_eq!(error.to_string(), "ingest layer: expected 3 bytes, found 4");

    let refused: io::Result<()> = Err(io::Error::from_raw_os_error(libc::ENOSPC));
    let error = refused.at("write", || "/store/blobs").unwrap_err();
    assert_eq!(error.to_string(), "write: [Errno 28] No space left on device: '/store/blobs'");
}
