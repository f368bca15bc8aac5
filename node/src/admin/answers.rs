//! Requests read and errors answered: always an [`ErrorBody`], always the status that its code says.

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use quorate_group::host::Failure;
use quorate_group::keyspace::check_scripts;
use quorate_model::admin::{ErrorBody, ErrorCode};
use quorate_model::{StoreId, Topology};
use serde::de::DeserializeOwned;

/// An answer that is not 2xx.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused(ErrorBody);

/// A JSON body; what is wrong with it is answered as an [`ErrorBody`] too.
pub(super) struct Body<T>(pub(super) T);

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody { code, message: message.into() })
    }

    const fn status(&self) -> StatusCode {
        match self.0.code {
            ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            ErrorCode::EpochMoved | ErrorCode::AlreadyBootstrapped | ErrorCode::WrongNode => {
                StatusCode::CONFLICT
            }
            ErrorCode::NoLeader => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Unknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status(), Json(self.0)).into_response()
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let code = match failure {
            Failure::EpochMoved { .. } => ErrorCode::EpochMoved,
            Failure::AlreadyBootstrapped => ErrorCode::AlreadyBootstrapped,
            Failure::Invalid(_) => ErrorCode::Invalid,
            Failure::Unknown => ErrorCode::Unknown,
            Failure::NotLeader { .. }
            | Failure::NoLeader { .. }
            | Failure::NotHosted { .. }
            | Failure::TimedOut { .. }
            | Failure::Overloaded
            | Failure::Behind { .. }
            | Failure::PositionLost { .. }
            | Failure::NoQuorum { .. }
            | Failure::Filling { .. }
            | Failure::Home { .. }
            | Failure::HomeSilent { .. }
            | Failure::Lacking { .. }
            | Failure::Damaged(_) => ErrorCode::NoLeader,
        };
        Self::new(code, failure.to_string())
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(Refused::new(ErrorCode::Invalid, rejection.body_text())),
        }
    }
}

/// What can be said of a topology without the group that will hold it.
pub(super) fn check_topology(topology: &Topology, store: StoreId) -> Result<(), Refused> {
    if topology.store != store {
        let message = format!("this node belongs to store {store}, not {}", topology.store);
        return Err(Refused::new(ErrorCode::Invalid, message));
    }
    let mut valid = topology.validate().map_err(|error| error.to_string());
    if let Some(multi_leader) = topology.mode.multi_leader() {
        valid = valid.and_then(|()| check_scripts(&multi_leader.policy.conflicts));
    }
    valid.map_err(|message| Refused::new(ErrorCode::Invalid, message))
}

pub(super) async fn no_such_path(uri: Uri) -> Response {
    let message = format!("there is no {}", uri.path());
    let body = ErrorBody { code: ErrorCode::Invalid, message };
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
