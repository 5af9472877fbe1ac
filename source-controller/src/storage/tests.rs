use super::*;
use std::collections::BTreeSet;

struct Fixture {
    directory: tempfile::TempDir,
    storage: Storage,
    place: Place,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        ttl: Duration::from_secs(60),
        records: 2,
    };
    let storage = Storage::open(directory.path(), "http://host".into(), Algorithm::Sha256, retention).unwrap();
    Fixture {
        directory,
        storage,
        place: Place::new("GitRepository", "ns", "app"),
    }
}

impl Fixture {
    fn publish(&self, file: &str, text: &str) -> Result<Stored, Error> {
        self.storage.publish(&self.place, file, |archive| {
            archive.directory(b".")?;
            archive.file(b"a", false, text.len() as u64, |out| out.write_all(text.as_bytes()))
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(self.place.path(file))
    }

    fn check(&self, files: &[&str]) {
        let names = std::fs::read_dir(self.path(""))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(
            names.collect::<BTreeSet<_>>(),
            files.iter().map(|f| (*f).to_owned()).collect()
        );
    }
}

#[test]
fn a_stored_file_is_intact_until_it_is_touched() {
    let fixture = fixture();
    let stored = fixture.publish("a.tar.gz", "one").unwrap();
    assert_eq!(stored.path, "gitrepository/ns/app/a.tar.gz");
    assert_eq!(stored.size, std::fs::metadata(fixture.path("a.tar.gz")).unwrap().len());
    let digest = stored.digest.to_string();
    let integrity = |path: &str, digest: &str| fixture.storage.check(&fixture.place, path, digest).unwrap();
    assert_eq!(integrity(&stored.path, &digest), Integrity::Intact);
    assert_eq!(integrity("gitrepository/ns/app/b.tar.gz", &digest), Integrity::Missing);
    assert_eq!(integrity(&stored.path, ""), Integrity::Damaged("empty digest".into()));
    for path in ["../../etc/passwd", "gitrepository/ns/other/a.tar.gz"] {
        assert_eq!(integrity(path, &digest), Integrity::Missing, "{path}");
    }
    std::os::unix::fs::symlink("a.tar.gz", fixture.path("link.tar.gz")).unwrap();
    std::fs::create_dir(fixture.path("directory.tar.gz")).unwrap();
    for name in ["link", "directory"] {
        let path = format!("gitrepository/ns/app/{name}.tar.gz");
        assert_eq!(integrity(&path, &digest), Integrity::Missing, "{path}");
    }
    std::fs::write(fixture.path("a.tar.gz"), "tampered").unwrap();
    assert!(matches!(integrity(&stored.path, &digest), Integrity::Damaged(text) if text.contains("doesn't match")));
}

#[test]
fn where_nobody_can_look_nothing_is_said_to_be_missing() {
    let fixture = fixture();
    let stored = fixture.publish("a.tar.gz", "one").unwrap();
    let check = || {
        fixture
            .storage
            .check(&fixture.place, &stored.path, &stored.digest.to_string())
    };
    let (place, aside) = (fixture.path(""), fixture.directory.path().join("aside"));
    std::fs::rename(&place, &aside).unwrap();
    assert_eq!(check().unwrap(), Integrity::Missing);
    std::fs::write(place.parent().unwrap().join("app"), "a file").unwrap();
    assert_eq!(check().unwrap(), Integrity::Missing);
    std::fs::remove_file(place.parent().unwrap().join("app")).unwrap();
    std::os::unix::fs::symlink("app", place.parent().unwrap().join("app")).unwrap();
    let error = check().unwrap_err().to_string();
    assert!(error.starts_with("failed to stat target artifact path: "), "{error}");
    std::fs::remove_file(place.parent().unwrap().join("app")).unwrap();
    std::fs::rename(&aside, &place).unwrap();
    assert_eq!(check().unwrap(), Integrity::Intact);
}

#[test]
fn a_failure_leaves_the_file_before_and_nothing_else() {
    let fixture = fixture();
    let before = fixture.publish("a.tar.gz", "one").unwrap();
    let failing = fixture.storage.publish(&fixture.place, "a.tar.gz", |archive| {
        archive.directory(b".")?;
        Err(io::Error::other("disk full"))
    });
    assert_eq!(
        failing.unwrap_err().to_string(),
        "unable to archive artifact to storage: disk full"
    );
    assert_eq!(
        fixture
            .storage
            .check(&fixture.place, &before.path, &before.digest.to_string())
            .unwrap(),
        Integrity::Intact
    );
    fixture.check(&["a.tar.gz", "a.tar.gz.lock"]);
}

#[test]
fn who_holds_the_lock_writes_alone() {
    let fixture = fixture();
    let before = fixture.publish("a.tar.gz", "one").unwrap();
    let lock = std::fs::File::open(fixture.path("a.tar.gz.lock")).unwrap();
    lock.lock().unwrap();
    std::fs::remove_file(fixture.path("a.tar.gz")).unwrap();
    let removed = fixture.storage.collect_garbage(&fixture.place, None, SystemTime::now());
    assert!(removed.unwrap().is_empty());
    let refused = fixture.publish("a.tar.gz", "two").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "failed to acquire lock for artifact: another process holds it"
    );
    fixture.publish("b.tar.gz", "two").unwrap();
    drop(lock);
    assert_ne!(fixture.publish("a.tar.gz", "two").unwrap().digest, before.digest);
}

#[test]
fn what_was_left_half_written_goes_and_nothing_else() {
    let fixture = fixture();
    fixture.publish("a.tar.gz", "one").unwrap();
    // The names of Flux's end in a number.
    for half in [".tmp-b.tar.gz", "b.tar.gz2418549247", "a.tar.gz7"] {
        std::fs::write(fixture.path(half), "half").unwrap();
    }
    let elsewhere = fixture.directory.path().join("gitrepository/.tmp-b.tar.gz");
    std::fs::write(&elsewhere, "not ours").unwrap();
    assert_eq!(fixture.storage.sweep().unwrap(), 3);
    assert_eq!(fixture.storage.sweep().unwrap(), 0);
    fixture.check(&["a.tar.gz", "a.tar.gz.lock"]);
    assert!(elsewhere.exists());
}

#[test]
fn what_is_still_being_written_stays_until_its_lock_is_free() {
    let fixture = fixture();
    fixture.publish("a.tar.gz", "one").unwrap();
    let halves = [".tmp-a.tar.gz", "a.tar.gz7"];
    for half in halves {
        std::fs::write(fixture.path(half), "half").unwrap();
    }
    let lock = std::fs::File::open(fixture.path("a.tar.gz.lock")).unwrap();
    lock.lock().unwrap();
    let current = fixture.place.path("a.tar.gz");
    let collect = || {
        fixture
            .storage
            .collect_garbage(&fixture.place, Some(&current), SystemTime::now())
    };
    assert!(collect().unwrap().is_empty());
    assert_eq!(fixture.storage.sweep().unwrap(), 0);
    fixture.check(&["a.tar.gz", "a.tar.gz.lock", ".tmp-a.tar.gz", "a.tar.gz7"]);
    drop(lock);
    assert!(collect().unwrap().is_empty(), "it was no artifact");
    fixture.check(&["a.tar.gz", "a.tar.gz.lock"]);
}

#[test]
fn only_files_of_the_object_are_opened() {
    let fixture = fixture();
    let stored = fixture.publish("a.tar.gz", "one").unwrap();
    std::os::unix::fs::symlink("a.tar.gz", fixture.path("link.tar.gz")).unwrap();
    let opens = |path: &str| fixture.storage.open_file(&fixture.place, path).is_ok();
    assert!(opens(&stored.path));
    for path in [
        "gitrepository/ns/app/link.tar.gz",
        "gitrepository/ns/app/b.tar.gz",
        "gitrepository/ns",
        "",
    ] {
        assert!(!opens(path), "{path}");
    }
}

#[test]
fn the_same_name_is_replaced_at_once() {
    let fixture = fixture();
    let one = fixture.publish("a.tar.gz", "one").unwrap();
    let mut open = std::fs::File::open(fixture.path("a.tar.gz")).unwrap();
    let two = fixture.publish("a.tar.gz", "two").unwrap();
    assert_ne!(one.digest, two.digest);
    assert_eq!(
        Digest::of_reader(Algorithm::Sha256, &mut open).unwrap(),
        one.digest,
        "who reads it goes on reading"
    );
}

#[test]
fn garbage_goes_and_the_current_file_stays() {
    let fixture = fixture();
    for file in ["a.tar.gz", "b.tar.gz", "c.tar.gz"] {
        fixture.publish(file, file).unwrap();
    }
    std::fs::write(fixture.path(".tmp-d.tar.gz"), "half").unwrap();
    std::fs::write(fixture.path("x.tar.gz.lock"), "").unwrap();
    let current = fixture.place.path("c.tar.gz");
    let later = SystemTime::now() + Duration::from_secs(120);
    let gone = fixture
        .storage
        .collect_garbage(&fixture.place, Some(&current), later)
        .unwrap();
    assert_eq!(gone.len(), 2);
    fixture.check(&["c.tar.gz", "c.tar.gz.lock"]);
    assert!(fixture.storage.delete(&fixture.place).unwrap());
    assert!(!fixture.storage.delete(&fixture.place).unwrap());
    assert!(!fixture.path("").exists());
    assert!(
        fixture
            .storage
            .collect_garbage(&fixture.place, None, later)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn much_garbage_goes_bit_by_bit() {
    let fixture = fixture();
    let current = fixture.publish("current.tar.gz", "one").unwrap().path;
    for n in 0..MAX_FILES + 100 {
        std::fs::write(fixture.path(&format!("{n}.tar.gz")), "").unwrap();
    }
    let later = SystemTime::now() + Duration::from_secs(120);
    let collect = || {
        fixture
            .storage
            .collect_garbage(&fixture.place, Some(&current), later)
            .unwrap()
            .len()
    };
    let first = collect();
    assert!((MAX_FILES - 2..=MAX_FILES).contains(&first), "{first}");
    assert_eq!(first + collect(), MAX_FILES + 100);
    assert_eq!(collect(), 0);
    fixture.check(&["current.tar.gz", "current.tar.gz.lock"]);
}

#[test]
fn a_missing_directory_is_not_made_up() {
    let retention = Retention {
        ttl: Duration::ZERO,
        records: 0,
    };
    assert!(Storage::open(Path::new("/nonexistent/x"), String::new(), Algorithm::Sha256, retention).is_err());
}
