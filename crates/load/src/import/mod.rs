//! Makes scenarios from recordings (HAR) and descriptions (OpenAPI), for users to complete.

mod har;
mod imported;
mod openapi;
mod secrets;

pub(crate) use self::har::har;
pub(crate) use self::openapi::openapi;
