//! One reconcile against the world, as the shell does it, possibly cut off between any two writes.

use std::collections::BTreeSet;

use k8s_openapi::{api::apps::v1::StatefulSet, apimachinery::pkg::api::resource::Quantity};
use quorate_model::GroupId;

use super::world::{Group, World};
use crate::{
    Action, Children, GroupAt, Next, Observed, Outcome, Plan, PodLabels, Prune, build::Desired,
    check, fixtures, labels_of, plan, report, validate,
};

/// The reconcile was cut off.
struct Crash;

impl World {
    pub(crate) fn observe(&mut self) -> Observed {
        Observed {
            now: fixtures::time(self.clock),
            status: self.status.clone(),
            children: Children {
                stateful_sets: self.objects.stateful_sets.clone(),
                pods: self.objects.pods.clone(),
                claims: self.objects.claims.clone(),
                ..Children::default()
            },
            reports: self.reports(),
            machines: std::collections::BTreeMap::new(),
        }
    }

    /// One reconcile. Answers what came next, if it was not cut off.
    pub(super) fn reconcile(&mut self) -> Option<Next> {
        let observed = self.observe();
        let mut resource = self.resource.clone();
        resource.status = Some(self.status.clone());
        let store = match validate(&resource) {
            Ok(store) => store,
            Err(errors) => {
                let labels = labels_of(fixtures::UID.parse().unwrap(), &observed);
                self.label(&labels).ok()?;
                let outcome = Outcome::Invalid { errors: &errors };
                self.write_status(report(&resource, &observed, outcome).status);
                return None;
            }
        };
        let made = plan(&store, &observed);
        assert_eq!(made, plan(&store, &observed), "planning is a function");
        assert_eq!(check(&store, &observed, &made), vec![], "{:?}", made.next);
        self.carry_out(&made).ok()?;
        let outcome = Outcome::Planned { store: &store, plan: &made, failure: None };
        self.write_status(report(&resource, &observed, outcome).status);
        Some(made.next)
    }

    fn write_status(&mut self, status: quorate_api::ReplicatedStoreStatus) {
        if self.status != status {
            self.writes += 1;
            self.status = status;
        }
    }

    fn may_crash(&mut self) -> Result<(), Crash> {
        if self.random.percent(self.crashes) { Err(Crash) } else { Ok(()) }
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<(), Crash> {
        let Plan { children, prune, pod_labels, claim_growth, next } = plan;
        if let Some(children) = children {
            self.apply(children)?;
        }
        for prune in prune {
            self.may_crash()?;
            self.writes += 1;
            match prune {
                Prune::StatefulSet { name, .. } => drop(self.objects.stateful_sets.remove(name)),
                Prune::DisruptionBudget { .. } | Prune::Service { .. } => {}
            }
        }
        self.label(pod_labels)?;
        for growth in claim_growth {
            self.may_crash()?;
            self.writes += 1;
            let claim = self.objects.claims.get_mut(&growth.claim).unwrap();
            let resources = claim.spec.as_mut().unwrap().resources.as_mut().unwrap();
            let requests = resources.requests.get_or_insert_default();
            requests.insert("storage".to_owned(), Quantity(growth.size.clone()));
        }
        self.may_crash()?;
        if let Next::Act(action) = next {
            self.writes += 1;
            self.act(action);
        }
        self.may_crash()
    }

    fn label(&mut self, pod_labels: &[PodLabels]) -> Result<(), Crash> {
        for change in pod_labels {
            self.may_crash()?;
            self.writes += 1;
            let pod = self.objects.pods.get_mut(&change.pod).unwrap();
            let labels = pod.metadata.labels.get_or_insert_default();
            for (key, value) in &change.labels {
                match value {
                    Some(value) => drop(labels.insert((*key).to_owned(), (*value).to_owned())),
                    None => drop(labels.remove(*key)),
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, children: &Desired) -> Result<(), Crash> {
        let Desired { service_account, config_map, services, disruption_budget, stateful_sets } =
            children;
        let json = |object: &dyn erased::Json| object.json();
        let mut others = vec![("account", json(service_account)), ("config", json(config_map))];
        others.extend(services.iter().map(|service| ("service", json(service))));
        others.extend(disruption_budget.iter().map(|budget| ("budget", json(budget))));
        for (index, (kind, json)) in others.into_iter().enumerate() {
            self.may_crash()?;
            let key = format!("{kind}-{index}");
            if self.objects.others.get(&key) != Some(&json) {
                self.writes += 1;
                self.objects.others.insert(key, json);
            }
        }
        for set in stateful_sets {
            self.may_crash()?;
            self.apply_stateful_set(set);
        }
        Ok(())
    }

    fn apply_stateful_set(&mut self, set: &StatefulSet) {
        let name = set.metadata.name.clone().unwrap();
        if self.objects.stateful_sets.get(&name).is_some_and(|found| found.spec == set.spec) {
            return;
        }
        self.writes += 1;
        let version = self.fresh_id();
        let found = self.objects.stateful_sets.entry(name).or_insert_with(|| {
            let mut made = set.clone();
            made.metadata.uid = Some(format!("uid-{version}"));
            made.metadata.generation = Some(0);
            made
        });
        let before = found.spec.as_ref().and_then(|spec| spec.volume_claim_templates.clone());
        assert_eq!(before, set.spec.as_ref().unwrap().volume_claim_templates, "immutable");
        found.spec.clone_from(&set.spec);
        found.metadata.resource_version = Some(version.to_string());
        *found.metadata.generation.as_mut().unwrap() += 1;
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::RecordBootstrap(_) => {}
            Action::Bootstrap { pod, request } => self.bootstrap(pod, request),
            Action::ProposeTopology { via, request, .. } => {
                let reached = via.iter().any(|pod| self.running.contains_key(pod));
                let led = self.groups[&GroupAt::META].leader.is_some();
                let current = self.topology.as_ref().unwrap().epoch == request.expected;
                if reached && led && current {
                    request.topology.validate().unwrap();
                    self.topology = self.agreed(&request.topology).or(self.topology.take());
                }
            }
            Action::RestartPod { pod, uid, .. } => {
                assert_eq!(self.objects.pods[pod].metadata.uid.as_ref(), Some(uid));
                self.delete_pod(pod);
            }
            Action::ScaleDown { stateful_set, to, .. } => {
                let set = self.objects.stateful_sets.get_mut(stateful_set).unwrap();
                set.spec.as_mut().unwrap().replicas = Some(*to);
                *set.metadata.generation.as_mut().unwrap() += 1;
            }
            Action::ReplaceVolume { claim, pod, .. } => {
                self.delete_claim(claim);
                if self.random.percent(100 - self.crashes) && self.objects.pods.contains_key(pod) {
                    self.delete_pod(pod);
                }
            }
            Action::DeleteClaim { claim, .. } => self.delete_claim(claim),
        }
    }

    fn delete_claim(&mut self, claim: &str) {
        let found = self.objects.claims.get_mut(claim).unwrap();
        found.metadata.deletion_timestamp.get_or_insert_with(|| fixtures::time(self.clock));
    }

    fn bootstrap(&mut self, pod: &str, request: &quorate_model::admin::Bootstrap) {
        if self.running.get(pod) != Some(&request.node) || self.topology.is_some() {
            return;
        }
        self.groups.insert(GroupAt::META, Group::begun(BTreeSet::from([request.node])));
        if request.topology.mode.multi_leader().is_none() {
            for (shard, placement) in request.topology.placements() {
                let group = GroupAt::from(GroupId::Shard(shard));
                self.groups.insert(group, Group::begun(placement.genesis.clone()));
            }
        }
        self.topology = Some(request.topology.clone());
    }
}

mod erased {
    //! Kubernetes objects of any kind as JSON.

    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}
