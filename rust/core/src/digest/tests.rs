use super::*;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_digest_survives_its_text() {
    for algorithm in Algorithm::ALL {
        let hash: Vec<u8> = (0..algorithm.digest_size()).map(|i| u8::try_from(i * 3).unwrap()).collect();
        let digest = Digest::new(algorithm, &hash);

        assert_eq!(Ok(digest), Digest::parse(&digest.to_string()));
        assert_eq!(hash, digest.as_bytes());
        assert_eq!(algorithm.digest_size() * 2, digest.encoded().len());
        assert_eq!(Ok(algorithm), Algorithm::parse(algorithm.name()));
    }
    assert_eq!(EMPTY, Digest::parse(EMPTY).unwrap().to_string());
}

#[test]
fn digests_are_ordered_as_their_texts() {
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL {
        for first in [0, 9, 10, 0x7f, 0xff] {
            let mut hash = vec![0x55; algorithm.digest_size()];
            hash[0] = first;
            digests.push(Digest::new(algorithm, &hash));
        }
    }
    let mut texts: Vec<String> = digests.iter().map(ToString::to_string).collect();
    digests.reverse();
    digests.sort();
    texts.sort();

    assert_eq!(texts, digests.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn malformed_text_is_an_invalid_digest() {
    let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
    let long = format!("sha256{}", "x".repeat(1000));
    for text in [
        "",
        ":",
        "sha256",
        "sha256:",
        ":00",
        "sha256:zz",
        "sha256:../../etc/passwd",
        "sha256:ab/cd",
        "SHA256:00",
        "sha256:00 ",
        " sha256:00",
        "sha256:0\0",
        "sha256::00",
        "sha256+:00",
        "a..b:00",
        "foo:",
        "foo:b!r",
        "sha256:é",
        &upper,
        &long,
    ] {
        let error = Digest::parse(text).unwrap_err();

        assert!(matches!(error, Error::InvalidDigest { .. }), "{text:?} gave {error:?}");
    }
}

#[test]
fn the_error_of_a_wrong_length_has_both_lengths() {
    for (text, expected, actual) in [
        ("sha256:00".to_owned(), 64, 2),
        (format!("{EMPTY}0"), 64, 65),
        (format!("sha384:{}", "a".repeat(64)), 96, 64),
        (format!("sha512:{}", "a".repeat(127)), 128, 127),
        (format!("blake3:{}", "a".repeat(128)), 64, 128),
    ] {
        let error = Digest::parse(&text).unwrap_err();

        assert_eq!(Error::InvalidDigestLength { text, expected, actual }, error);
    }
}

#[test]
fn a_foreign_algorithm_is_unsupported_not_malformed() {
    for (text, name) in
        [("md5:d41d8cd9", "md5"), ("multihash+base58:QmRZ_-=x", "multihash+base58"), ("sha3.512:00", "sha3.512")]
    {
        let error = Digest::parse(text).unwrap_err();

        assert_eq!(Error::UnsupportedAlgorithm { text: text.to_owned(), algorithm: name.to_owned() }, error);
    }
    assert!(matches!(Algorithm::parse("md5"), Err(Error::UnsupportedAlgorithm { .. })));
    assert!(matches!(Algorithm::parse("MD5"), Err(Error::InvalidDigest { .. })));
    assert!(matches!(Algorithm::parse(""), Err(Error::InvalidDigest { .. })));
}
