//! What a webhook proves and where it goes.

pub mod hooks;
pub mod verify;

use sha2::{Digest, Sha256};

/// The path of a Receiver's webhook: nobody can guess it who does not know the token.
pub fn path(token: &[u8], name: &str, namespace: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(token);
    hash.update(name);
    hash.update(namespace);
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{hex}", api::notification::WEBHOOK_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_hash_of_token_name_and_namespace() {
        // printf tokennamens | sha256sum
        assert_eq!(
            path(b"token", "name", "ns"),
            "/hook/9f3f1bb97bc2396f3fa58dc72a9c08a57c02e524af1250535429cdb90db6028e"
        );
        assert_eq!(path(b"", "a", "b").len(), "/hook/".len() + 64);
    }
}
