//! Volumes that are thrown away so that a node can be rebuilt from its peers: a corrupt log, or a machine that is gone.
//!
//! It takes consent (the reclaim policy for what is corrupt, an annotation with the node's identity for anything) and
//! groups that can spare the node: everybody else in each of them is caught up and is a majority.

use quorate_api::ReclaimPolicy;
use quorate_model::Member;

use super::{
    Action, Finding, WaitingOn,
    facts::{Facts, MemberState},
};
use crate::names;

pub(super) fn replace(facts: &Facts<'_>) -> Finding {
    let Some(topology) = facts.topology else { return Finding::Pass(vec![]) };
    let mut waiting = vec![];
    for member in topology.members.values() {
        let named = facts.store.replace_node == Some(member.id);
        let consent = match facts.member_state(member) {
            MemberState::Present | MemberState::Lost => continue,
            MemberState::Unknown if named => true,
            MemberState::Unknown => continue,
            MemberState::Corrupt => {
                named || facts.store.storage.reclaim_policy == ReclaimPolicy::Delete
            }
        };
        if !consent {
            waiting.push(WaitingOn::Consent { pod: member.name.clone(), node: member.id });
            continue;
        }
        match action(facts, member) {
            Ok(action) => return Finding::Act(action),
            Err(reason) => waiting.push(reason),
        }
    }
    Finding::Pass(waiting)
}

fn action(facts: &Facts<'_>, member: &Member) -> Result<Action, WaitingOn> {
    for state in facts.groups_reaching(&member.datacenter) {
        let group = state.name.clone();
        let Some(voters) = state.voters() else { return Err(WaitingOn::Leader { group }) };
        if (voters.contains(&member.id) || state.wanted.contains(&member.id))
            && !state.can_spare(member.id)
        {
            let mut lagging = state.lagging();
            lagging.remove(&member.id);
            let pods = facts.pod_names(&lagging);
            return Err(WaitingOn::CaughtUp { group, pods });
        }
    }
    let ending = || WaitingOn::Ending { pods: [member.name.clone()].into() };
    let claim = names::claim(&member.name);
    let found = facts.observed.children.claims.get(&claim).ok_or_else(ending)?;
    if found.metadata.deletion_timestamp.is_some() {
        return Err(ending());
    }
    let claim_uid = found.metadata.uid.clone().ok_or_else(ending)?;
    let pod_uid = facts.pods.get(&member.name).and_then(|pod| pod.uid()).map(str::to_owned);
    let pod = member.name.clone();
    Ok(Action::ReplaceVolume { node: member.id, claim, claim_uid, pod, pod_uid })
}
