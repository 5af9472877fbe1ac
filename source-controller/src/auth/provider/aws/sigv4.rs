//! The password that AWS CodeCommit takes: a signature of version 4 over a request that is never sent.
//!
//! Pure. The request has the method `GIT`, the path of the repository, the one header `host` and no hash of a body; the
//! time has no zone in what is signed, and a `Z` in the password. So the usual signers do not produce it.

use std::fmt::Write;

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

const SERVICE: &str = "codecommit";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The host, with a port that is not the usual one.
    pub host: &'a str,
    /// The path as it stands in the URL.
    pub path: &'a str,
    /// The region.
    pub region: &'a str,
}

/// The password: the time and the signature of that second.
pub fn password(request: Request<'_>, secret_key: &str, at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    let time = at.strftime("%Y%m%dT%H%M%S").to_string();
    let day = at.strftime("%Y%m%d").to_string();
    let Request { host, path, region } = request;
    let path = escape(if path.is_empty() { "/" } else { path });
    let canonical = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
    let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let first = format!("AWS4{secret_key}").into_bytes();
    let key = [day.as_str(), region, SERVICE, "aws4_request"]
        .into_iter()
        .fold(first, |key, word| keyed(&key, word));
    format!("{time}Z{}", hex(&keyed(&key, &text)))
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    // A key of every length is taken.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut hash) => {
            hash.update(text.as_bytes());
            hash.finalize().into_bytes().to_vec()
        }
        Err(_) => Vec::new(),
    }
}

/// A path is escaped once more, what is escaped already included.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(char::from(byte))
            }
            // Writing to a string does not fail.
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expectations are what the signer of AWS' library for Go makes of the same requests.
    fn check(host: &str, path: &str, region: &str, secret_key: &str, expected: &str) {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(
            password(Request { host, path, region }, secret_key, at),
            expected,
            "{host} {path}"
        );
    }

    #[test]
    fn a_password_is_what_the_library_of_aws_signs() {
        check(
            "git-codecommit.us-east-1.amazonaws.com",
            "/v1/repos/my-repo",
            "us-east-1",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "20231114T221320Z4601b2ad6c86223464cf300cd7fe25738d6c49dc4a24f2576d71c2519452370b",
        );
        check(
            "git-codecommit-fips.us-gov-west-1.amazonaws.com",
            "/v1/repos/with%20space",
            "us-gov-west-1",
            "secret",
            "20231114T221320Z15fb803af36fdd8c891ae5cc040e8f3c3048f08954e4f90c542df3536bf9608b",
        );
        check(
            "git-codecommit.cn-north-1.amazonaws.com.cn:8443",
            "/v1/repos/a_b~c.d",
            "cn-north-1",
            "secret",
            "20231114T221320Za86b64e8b24f84332d17eeaa68bd75b86f24bee7760e81a81e407114781cf5a2",
        );
        check(
            "git-codecommit.eu-west-1.amazonaws.com",
            "/v1/repos/a@b+c",
            "eu-west-1",
            "secret",
            "20231114T221320Zb89ece651bb36e44e3159a4e5fe586b125ca81ca1b7383ac30b7ac15920e3c0a",
        );
    }
}
