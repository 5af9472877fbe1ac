//! PersistentVolumeClaims.

use super::{Status, field};
use serde_json::Value;

pub(super) fn status(object: &Value) -> Status {
    match field::text(object, "/status/phase") {
        "Bound" => Status::current("it is bound"),
        "" => Status::in_progress("it has no phase"),
        phase => Status::in_progress(format!("it is not bound but {phase}")),
    }
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(status: &str, expected: Kind, message: &str) {
        let fields = format!("status: {status}");
        crate::health::tests::check(
            "apiVersion: v1, kind: PersistentVolumeClaim",
            &fields,
            expected,
            message,
        );
    }

    #[test]
    fn a_claim_has_to_be_bound() {
        check("{phase: Bound}", Kind::Current, "it is bound");
        check("{phase: Pending}", Kind::InProgress, "it is not bound but Pending");
        check("{phase: Lost}", Kind::InProgress, "it is not bound but Lost");
        check("{}", Kind::InProgress, "it has no phase");
    }
}
