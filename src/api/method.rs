//! The methods of routes, for answers that are all of one type to the router.
//!
//! `axum::routing` makes the machinery of a route anew for each function that answers one; with a hundred of
//! them that would be a good part of the program.

use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::{self, MethodRouter};
use futures_util::future::BoxFuture;

use super::Api;

type Answering = BoxFuture<'static, Response>;

/// A function that answers, whatever it takes out of the request.
#[derive(Clone)]
struct Answer(Arc<dyn Fn(Request, Api) -> Answering + Send + Sync>);

impl Answer {
    fn by<T>(answer: impl Handler<T, Api, Future = Answering>) -> Self {
        Answer(Arc::new(move |request, api| answer.clone().call(request, api)))
    }
}

impl Handler<(), Api> for Answer {
    type Future = Answering;

    fn call(self, request: Request, api: Api) -> Answering {
        (self.0)(request, api)
    }
}

/// GET, and HEAD.
pub(super) fn get<T>(answer: impl Handler<T, Api, Future = Answering>) -> MethodRouter<Api> {
    routing::get(Answer::by(answer))
}

/// POST.
pub(super) fn post<T>(answer: impl Handler<T, Api, Future = Answering>) -> MethodRouter<Api> {
    routing::post(Answer::by(answer))
}

/// PUT.
pub(super) fn put<T>(answer: impl Handler<T, Api, Future = Answering>) -> MethodRouter<Api> {
    routing::put(Answer::by(answer))
}
