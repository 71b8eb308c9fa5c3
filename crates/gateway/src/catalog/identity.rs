//! What decides the numbers of a model's answers, where all servers agree on it.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sortie_proto::v1;

/// A model as far as its numbers go: its revision and everything else that its servers say of it, but for limits and
/// state. Two fleets of one identity give the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelIdentity {
    /// Revision that every server serves.
    pub(crate) revision: String,
    /// SHA-256 of all that they say.
    pub(crate) digest: [u8; 32],
}

/// The identity that `infos`, merged to `merged`, have in common; none while they differ, as in a rolling update, or where
/// they say no revision. Engine, device and precision may differ: those of all servers are part of it, for any of them may
/// answer.
pub(super) fn agreed(infos: &[v1::ModelInfo], merged: &v1::ModelInfo) -> Option<ModelIdentity> {
    let own = |info: &v1::ModelInfo| v1::ModelInfo {
        limits: None,
        state: 0,
        engine: String::new(),
        device: String::new(),
        precision: String::new(),
        // It hangs on the device, and on nothing that an answer hangs on.
        doubling_length: 0,
        ..info.clone()
    };
    let common = own(merged);
    if merged.revision.is_empty() || infos.iter().any(|info| own(info) != common) {
        return None;
    }
    let all = v1::ModelInfo { limits: None, state: 0, doubling_length: 0, ..merged.clone() };
    Some(ModelIdentity { revision: all.revision.clone(), digest: Sha256::digest(all.encode_to_vec()).into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::merge::merged_model;

    fn info(change: impl FnOnce(&mut v1::ModelInfo)) -> v1::ModelInfo {
        let mut info = v1::ModelInfo { name: "m".to_owned(), revision: "r1".to_owned(), ..v1::ModelInfo::default() };
        (info.max_length, info.device, info.precision) = (512, "cpu".to_owned(), "f32".to_owned());
        change(&mut info);
        info
    }

    fn of(infos: &[v1::ModelInfo]) -> Option<ModelIdentity> {
        agreed(infos, &merged_model(infos.to_vec(), &v1::LoadReport::default()).unwrap())
    }

    #[test]
    fn servers_that_differ_have_no_identity() {
        let one = of(&[info(|_| ())]).unwrap();
        assert_eq!(one.revision, "r1");
        assert_eq!(of(&[info(|_| ()), info(|info| info.set_state(v1::ModelState::Loading))]), Some(one.clone()));
        assert_eq!(of(&[info(|_| ()), info(|info| info.revision = "r2".to_owned())]), None);
        assert_eq!(of(&[info(|_| ()), info(|info| info.max_length = 256)]), None);
        assert_eq!(of(&[info(|info| info.revision.clear())]), None);
        for changed in [
            info(|info| info.revision = "r2".to_owned()),
            info(|info| info.max_length = 256),
            info(|info| info.precision = "f16".to_owned()),
        ] {
            assert_ne!(of(&[changed]).unwrap().digest, one.digest);
        }
        let lengths = [1_152, 2_304].map(|length| info(|info| info.doubling_length = length));
        assert_eq!(of(&lengths), Some(one.clone()), "what a long text costs is no part of its answer");
        let both = of(&[info(|_| ()), info(|info| info.precision = "f16".to_owned())]).unwrap();
        assert!(both != one, "another precision may answer");
        let both_again = of(&[info(|info| info.precision = "f16".to_owned()), info(|_| ())]);
        assert_eq!(both_again, Some(both), "whoever is first");
    }
}
