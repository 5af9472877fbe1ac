//! The key for ssh: the one that is named, or the user's own, as `ssh` would take it. There is no agent and no passphrase here,
//! and nobody's ssh configuration is read.

use std::path::{Path, PathBuf};

use remote::Identity;

/// The names of keys, the most wanted first.
const KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// The identity of the files that are named, or of the user's.
///
/// # Errors
/// Which file cannot be used, or where none was found.
pub(crate) fn identity(key: Option<&Path>, known_hosts: Option<&Path>) -> Result<Identity, String> {
    let home = std::env::home_dir().unwrap_or_default().join(".ssh");
    let known_hosts = known_hosts.map_or_else(|| home.join("known_hosts"), PathBuf::from);
    let hosts = read(&known_hosts).map_err(|error| format!("{error}: name another file with --ssh-known-hosts"))?;
    let own = || KEYS.map(|name| home.join(name)).into_iter().find(|key| key.exists());
    let key = key.map(PathBuf::from).or_else(own);
    let key = key.ok_or_else(|| {
        let (names, home) = (KEYS.join(", "), home.display());
        format!("there is no key for ssh ({names}) in {home}: name one with --ssh-identity")
    })?;
    let identity = Identity::new(&read(&key)?, None, &hosts);
    identity.map_err(|error| format!("{}: {error}: name another key with --ssh-identity", key.display()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
