//! CustomResourceDefinitions.

use super::Status;
use super::field::{self, Malformed};
use serde_json::Value;

pub(super) fn status(object: &Value) -> Result<Status, Malformed> {
    for condition in field::conditions(object)? {
        match condition.name {
            "NamesAccepted" if condition.is_false() => return Ok(Status::failed(condition.message)),
            // While it is being installed it is not established and nothing is wrong.
            "Established" if condition.is_false() && condition.reason != "Installing" => {
                return Ok(Status::failed(condition.message));
            }
            "Established" if condition.is_true() => return Ok(Status::current("it is established")),
            _ => {}
        }
    }
    Ok(Status::in_progress("it is not established"))
}

#[cfg(test)]
mod tests {
    use crate::health::Kind;

    #[track_caller]
    fn check(conditions: &str, expected: Kind, message: &str) {
        let type_meta = "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition";
        crate::health::tests::check(
            type_meta,
            &format!("status: {{conditions: [{conditions}]}}"),
            expected,
            message,
        );
    }

    #[test]
    fn a_definition_has_to_be_established() {
        let accepted = "{type: NamesAccepted, status: 'True'}";
        check("", Kind::InProgress, "it is not established");
        check(accepted, Kind::InProgress, "it is not established");
        check(
            &format!("{accepted}, {{type: Established, status: 'True'}}"),
            Kind::Current,
            "it is established",
        );
        let installing = "{type: Established, status: 'False', reason: Installing, message: M}";
        check(
            &format!("{accepted}, {installing}"),
            Kind::InProgress,
            "it is not established",
        );
    }

    #[test]
    fn a_definition_that_is_refused_has_failed() {
        let taken = "{type: NamesAccepted, status: 'False', reason: PluralConflict, message: 'the name is taken'}";
        check(taken, Kind::Failed, "the name is taken");
        let refused =
            "{type: Established, status: 'False', reason: NotAccepted, message: 'not all names are accepted'}";
        check(refused, Kind::Failed, "not all names are accepted");
    }
}
