//! An API server in memory: enough of Kubernetes for whole reconciles, with a fault at any call.
//!
//! It keeps what the operator may rely on: resourceVersions that move only when an object changes, server-side apply
//! with field ownership, defaults that it adds by itself, preconditions on deletes, a status subresource. It is not
//! a validator: the schema's own rules are tested in `operator/api`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::fields;

/// What happens at the call that a [`Fault`] names.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Moment {
    /// The request never arrives.
    Before,
    /// The request takes effect, its answer never arrives.
    After,
}

/// The operator dies at this call (counted from 0), and every call after it fails until [`ApiServer::revive`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Fault {
    pub(crate) call: usize,
    pub(crate) moment: Moment,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Clone)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    version: u64,
    calls: Vec<String>,
    fault: Option<Fault>,
    dead: bool,
    /// What somebody else does just before the next write arrives.
    meddling: Option<Meddling>,
}

type Meddling = Box<dyn FnOnce(&mut BTreeMap<Key, Value>, &mut u64) + Send>;

/// A request's target: `/api/v1/namespaces/{ns}/pods/{name}/status` and so on.
struct Target {
    api_version: String,
    namespace: String,
    plural: String,
    name: Option<String>,
    status: bool,
}

enum Refusal {
    NotFound,
    Conflict(&'static str),
    Dead,
}

impl ApiServer {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default() }
    }

    /// Another API server with the same objects.
    pub(crate) fn fork(&self) -> Self {
        let state = self.state();
        let objects = state.objects.clone();
        let fork = State { objects, version: state.version, ..State::default() };
        Self { state: Arc::new(Mutex::new(fork)) }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let server = self.clone();
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(router, "default")
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        let mut state = self.state();
        state.fault = Some(fault);
        state.calls.clear();
    }

    /// Whether the operator died; the server works again afterwards.
    pub(crate) fn revive(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        std::mem::take(&mut state.dead)
    }

    /// A call that is not to the API server but at which the operator may die too: a request to a node.
    pub(crate) fn foreign_call(&self, what: &str, effect: impl FnOnce()) -> Result<(), ()> {
        let verdict = self.state().enter(what);
        if verdict != Some(Moment::Before) {
            effect();
        }
        if verdict.is_some() { Err(()) } else { Ok(()) }
    }

    /// Every call since the last [`Self::forget_calls`] or [`Self::set_fault`], as `METHOD path`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub(crate) fn forget_calls(&self) {
        self.state().calls.clear();
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| !call.starts_with("GET ")).collect()
    }

    /// Every object with its resourceVersion.
    pub(crate) fn versions(&self) -> BTreeMap<Key, String> {
        let state = self.state();
        state
            .objects
            .iter()
            .map(|(key, object)| (key.clone(), object["metadata"]["resourceVersion"].to_string()))
            .collect()
    }

    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        let state = self.state();
        let of_kind = state.objects.iter().filter(|(key, _)| key.plural == plural);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&key(plural, namespace, name)).cloned()
    }

    /// Puts an object there as somebody else (a user, the kubelet, a controller) would.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.state().store(key(plural, &namespace, &name), object);
    }

    pub(crate) fn change(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        how: impl FnOnce(&mut Value),
    ) {
        let mut state = self.state();
        let key = key(plural, namespace, name);
        let mut object = state.objects[&key].clone();
        how(&mut object);
        state.store(key, object);
    }

    /// Changes an object as somebody else would, just before the operator's next write arrives.
    pub(crate) fn change_at_next_write(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        how: impl FnOnce(&mut Value) + Send + 'static,
    ) {
        let key = key(plural, namespace, name);
        self.state().meddling = Some(Box::new(move |objects, version| {
            let object = objects.get_mut(&key).unwrap();
            how(object);
            *version += 1;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
        }));
    }

    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) {
        self.state().objects.remove(&key(plural, namespace, name));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let query: BTreeMap<String, String> =
            parts.uri.query().map(parse_query).unwrap_or_default();
        if query.get("watch").is_some_and(|watch| watch == "true") {
            let silence = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
            return Response::new(Body::from_stream(silence));
        }
        let body =
            if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let content_type =
            parts.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        let path = parts.uri.path();
        let outcome = self.state().call(&parts.method, path, &query, content_type, body);
        let (status, body) = match outcome {
            Ok(body) => (StatusCode::OK, body),
            Err(Refusal::NotFound) => refuse(StatusCode::NOT_FOUND, "NotFound", path),
            Err(Refusal::Conflict(reason)) => refuse(StatusCode::CONFLICT, reason, path),
            Err(Refusal::Dead) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", path),
        };
        let body = Body::from(serde_json::to_vec(&body).unwrap());
        Response::builder().status(status).body(body).unwrap()
    }
}

impl State {
    /// Counts a call; `Some` when the operator dies at it.
    fn enter(&mut self, what: &str) -> Option<Moment> {
        if self.dead {
            return Some(Moment::Before);
        }
        self.calls.push(what.to_owned());
        let fault = self.fault.filter(|fault| fault.call + 1 == self.calls.len())?;
        self.dead = true;
        Some(fault.moment)
    }

    fn call(
        &mut self,
        method: &Method,
        path: &str,
        query: &BTreeMap<String, String>,
        content_type: &str,
        body: Value,
    ) -> Result<Value, Refusal> {
        let verdict = self.enter(&format!("{method} {path}"));
        if verdict == Some(Moment::Before) {
            return Err(Refusal::Dead);
        }
        if method != Method::GET
            && let Some(meddle) = self.meddling.take()
        {
            meddle(&mut self.objects, &mut self.version);
        }
        let target = Target::parse(path);
        let answer = match (method, &target.name) {
            (&Method::GET, None) => Ok(self.list(&target, query)),
            (&Method::GET, Some(_)) => self.get(&target),
            (&Method::POST, None) => self.create(&target, body),
            (&Method::PUT, Some(_)) => self.replace(&target, body),
            (&Method::PATCH, Some(_)) => self.patch(&target, query, content_type, &body),
            (&Method::DELETE, Some(_)) => self.delete(&target, &body),
            other => panic!("the fake API server knows no {other:?} of {path}"),
        };
        if verdict == Some(Moment::After) { Err(Refusal::Dead) } else { answer }
    }

    fn get(&self, target: &Target) -> Result<Value, Refusal> {
        self.objects.get(&target.key()).cloned().ok_or(Refusal::NotFound)
    }

    fn list(&self, target: &Target, query: &BTreeMap<String, String>) -> Value {
        let selector = query.get("labelSelector").map_or("", String::as_str);
        let fields = query.get("fieldSelector").map_or("", String::as_str);
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(key, object)| {
                key.plural == target.plural
                    && (target.namespace.is_empty() || key.namespace == target.namespace)
                    && selects(selector, &object["metadata"]["labels"])
                    && fields.strip_prefix("metadata.name=").is_none_or(|name| key.name == name)
            })
            .map(|(_, object)| object)
            .collect();
        json!({
            "apiVersion": target.api_version,
            "kind": "List",
            "metadata": { "resourceVersion": self.version.to_string() },
            "items": items,
        })
    }

    fn create(&mut self, target: &Target, mut body: Value) -> Result<Value, Refusal> {
        let name = match body["metadata"]["name"].as_str() {
            Some(name) => name.to_owned(),
            None => format!("generated-{}", self.version),
        };
        body["metadata"]["name"] = json!(name);
        if !target.namespace.is_empty() {
            body["metadata"]["namespace"] = json!(target.namespace);
        }
        let key = key(&target.plural, &target.namespace, &name);
        if self.objects.contains_key(&key) {
            return Err(Refusal::Conflict("AlreadyExists"));
        }
        Ok(self.store(key, body))
    }

    fn replace(&mut self, target: &Target, body: Value) -> Result<Value, Refusal> {
        let live = self.get(target)?;
        let expected = &body["metadata"]["resourceVersion"];
        if !expected.is_null() && *expected != live["metadata"]["resourceVersion"] {
            return Err(Refusal::Conflict("Conflict"));
        }
        Ok(self.store(target.key(), body))
    }

    fn patch(
        &mut self,
        target: &Target,
        query: &BTreeMap<String, String>,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, Refusal> {
        let live = self.objects.get(&target.key()).cloned();
        let expected = &body["metadata"]["resourceVersion"];
        let expected_uid = &body["metadata"]["uid"];
        if let Some(live) = &live {
            let version = &live["metadata"]["resourceVersion"];
            let uid = &live["metadata"]["uid"];
            if (!expected.is_null() && expected != version)
                || (!expected_uid.is_null() && expected_uid != uid)
            {
                return Err(Refusal::Conflict("Conflict"));
            }
        }
        let mut object = match content_type {
            "application/apply-patch+yaml" if live.is_none() && target.status => {
                return Err(Refusal::NotFound);
            }
            "application/apply-patch+yaml" => {
                let manager = query.get("fieldManager").expect("an apply names its manager");
                let mut object = live.unwrap_or_else(|| json!({ "metadata": {} }));
                fields::apply(&mut object, body, manager, target.status);
                object
            }
            "application/merge-patch+json" => {
                let mut object = live.ok_or(Refusal::NotFound)?;
                fields::merge(&mut object, body);
                object
            }
            other => panic!("the fake API server knows no {other}"),
        };
        object["metadata"]["name"] = json!(target.name);
        if !target.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(target.namespace);
        }
        Ok(self.store(target.key(), object))
    }

    fn delete(&mut self, target: &Target, options: &Value) -> Result<Value, Refusal> {
        let live = self.get(target)?;
        for field in ["uid", "resourceVersion"] {
            let expected = &options["preconditions"][field];
            if !expected.is_null() && *expected != live["metadata"][field] {
                return Err(Refusal::Conflict("Conflict"));
            }
        }
        self.objects.remove(&target.key());
        self.version += 1;
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
    }

    /// Stores an object; the resourceVersion moves only when something else changed.
    fn store(&mut self, key: Key, mut object: Value) -> Value {
        let live = self.objects.get(&key);
        fields::add_defaults(&key.plural, &mut object);
        let metadata = object["metadata"].as_object_mut().unwrap();
        let kept = |field: &str| live.map(|live| live["metadata"][field].clone());
        metadata.remove("resourceVersion");
        let serial = self.version + 1;
        metadata.insert(
            "uid".into(),
            kept("uid").unwrap_or_else(|| json!(format!("00000000-0000-4000-8000-{serial:012}"))),
        );
        metadata.insert("creationTimestamp".into(), json!("2026-01-01T00:00:00Z"));
        let before = live.map(|live| without_version(live.clone()));
        let same_spec = live.is_some_and(|live| live["spec"] == object["spec"]);
        let generation = kept("generation").and_then(|value| value.as_u64()).unwrap_or(0);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("generation".into(), json!(generation + u64::from(!same_spec)));
        if before.as_ref() != Some(&object) {
            self.version = serial;
        }
        let version = match (&before, live) {
            (Some(before), Some(live)) if *before == object => {
                live["metadata"]["resourceVersion"].clone()
            }
            _ => json!(self.version.to_string()),
        };
        object["metadata"]["resourceVersion"] = version;
        self.objects.insert(key, object.clone());
        object
    }
}

impl Target {
    fn parse(path: &str) -> Self {
        let mut parts = path.trim_start_matches('/').split('/');
        let api_version = match parts.next() {
            Some("api") => parts.next().unwrap().to_owned(),
            Some("apis") => format!("{}/{}", parts.next().unwrap(), parts.next().unwrap()),
            other => panic!("no API under {other:?}"),
        };
        let mut rest: Vec<&str> = parts.collect();
        let namespace = if rest.first() == Some(&"namespaces") && rest.len() > 2 {
            let namespace = rest[1].to_owned();
            rest.drain(..2);
            namespace
        } else {
            String::new()
        };
        let plural = rest[0].to_owned();
        let name = rest.get(1).map(|name| (*name).to_owned());
        let status = match rest.get(2) {
            None => false,
            Some(&"status") => true,
            Some(other) => panic!("the fake API server knows no subresource {other}"),
        };
        Self { api_version, namespace, plural, name, status }
    }

    fn key(&self) -> Key {
        key(&self.plural, &self.namespace, self.name.as_deref().unwrap())
    }
}

fn key(plural: &str, namespace: &str, name: &str) -> Key {
    Key { plural: plural.into(), namespace: namespace.into(), name: name.into() }
}

fn without_version(mut object: Value) -> Value {
    let metadata: &mut Map<String, Value> = object["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    object
}

fn refuse(status: StatusCode, reason: &str, path: &str) -> (StatusCode, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": status.as_u16(), "reason": reason, "message": format!("{reason}: {path}"),
    });
    (status, body)
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unescape(name), unescape(value))).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap().to_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Equality selectors only: the operator uses no others.
fn selects(selector: &str, labels: &Value) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((label, value)) => labels[label] == value.trim_start_matches('='),
        None => !labels[term].is_null(),
    })
}
