//! Two keys, what they have signed, and when the targets live.

/// What was signed.
pub const PAYLOAD: &[u8] = b"tree\n";
/// An OpenPGP key with a subkey.
pub const PGP_KEY: &[u8] = include_bytes!("../fixed/pgp.asc");
/// Its id.
pub const PGP_ID: &str = "D7C503C2F0D75211";
/// The signature of its subkey on the payload.
pub const PGP_SIGNATURE: &[u8] = include_bytes!("../fixed/signature.asc");
/// An SSH key.
pub const SSH_KEY: &[u8] = include_bytes!("../fixed/ssh.pub");
/// Its fingerprint.
pub const SSH_ID: &str = "SHA256:4TtrHT55YBH8xXtg6HBYKE378Z800+D5j9NnSdoH+mk";
/// Its signature on the payload.
pub const SSH_SIGNATURE: &[u8] = include_bytes!("../fixed/signature.ssh");

/// Some day after all of this was made.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::constant(1_800_000_000, 0)
}
