// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What rsbinder has differently from libbinder_rs: Cargo's side.
//!
//! `libbinder_rs.rs` beside this file is the other side and has the same items. Nothing else in the
//! tree knows which of the two it is built with.

use std::os::fd::OwnedFd;

use rsbinder::{ExceptionCode, FromIBinder, Interface, SIBinder, Status, StatusCode, Strong};

use crate::failure::Failure;

mod generated {
    // Written by rsbinder-aidl at build time; the AIDL holds its documentation.
    #![allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
    include!(concat!(env!("OUT_DIR"), "/buffersync.rs"));
}

/// The AIDL package `vendor.buffersync`.
pub use generated::vendor;
/// `android.hardware.common.NativeHandle`.
pub use rsbinder::NativeHandle;

/// One of the words of `dumpsys INSTANCE WORD...`, as `Interface::dump` gets them.
pub type DumpArgument<'a> = String;

/// The text of such a word.
pub fn dump_argument(argument: &DumpArgument<'_>) -> String {
    argument.clone()
}

/// What a dump is refused with while another one is being written.
pub const WOULD_BLOCK: StatusCode = StatusCode::WouldBlock;
/// What a dump is refused with that can't be written.
pub const FAILED_TRANSACTION: StatusCode = StatusCode::FailedTransaction;

/// Makes an object that can be called: `new_binder!(BnFoo, foo)` for the generated class `BnFoo`.
#[macro_export]
macro_rules! new_binder {
    ($class:ty, $object:expr) => {
        <$class>::new_binder($object)
    };
}

/// Opens the driver at `device` and bounds the thread pool: the kernel starts at most `max_threads`
/// threads beside those that join by themselves; `None` for processes that serve nothing. Once per
/// process.
pub fn open_driver(device: &str, max_threads: Option<u32>) -> Result<(), String> {
    rsbinder::ProcessState::init(device, max_threads.unwrap_or(0))
        .map(|_| ())
        .map_err(|error| format!("{device}: {error}"))
}

/// Has the runtime make what it keeps for the calling thread, if the driver is open.
pub fn prepare_thread() {
    let _ = rsbinder::get_strict_mode_policy();
}

/// Registers an object with the service manager; on an error, what that answered.
pub fn add_service(name: &str, object: SIBinder) -> Result<(), String> {
    rsbinder::hub::add_service(name, object).map_err(|status| match status.exception_code() {
        ExceptionCode::TransactionFailed => status.transaction_error().to_string(),
        code => format!("{code:?}: {}", status.message().unwrap_or("no message")),
    })
}

/// Has the object print its state to `fd`. Returns when it has.
pub fn dump<T: FromIBinder + Interface + ?Sized>(
    object: &Strong<T>,
    fd: OwnedFd,
    arguments: &[&str],
) -> Result<(), Failure> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let binder = object.as_binder();
    let proxy = binder.as_proxy().ok_or_else(|| Failure::Other("it is in this process".into()))?;
    proxy.dump(fd, &arguments).map_err(failure_of_transport)
}

/// A status that carries a service-specific error.
pub fn service_specific(code: i32, message: &str) -> Status {
    Status::new_service_specific_error(code, Some(message.to_string()))
}

/// A status that says that an argument is bad.
pub fn illegal_argument(message: &str) -> Status {
    (ExceptionCode::IllegalArgument, message).into()
}

/// What the status of a call says.
pub fn failure(status: &Status) -> Failure {
    match status.exception_code() {
        ExceptionCode::ServiceSpecific => Failure::ServiceSpecific(status.service_specific_error()),
        ExceptionCode::IllegalArgument => {
            Failure::IllegalArgument(status.message().unwrap_or_default().to_string())
        }
        ExceptionCode::TransactionFailed => failure_of_transport(status.transaction_error()),
        _ => Failure::Other(status.to_string()),
    }
}

/// What the status of a look-up, or of a call that did not get through, says.
pub fn failure_of_transport(status: StatusCode) -> Failure {
    match status {
        StatusCode::NameNotFound => Failure::NameNotFound,
        StatusCode::DeadObject => Failure::DeadObject,
        StatusCode::BadFd => Failure::BadFd,
        other => Failure::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_keep_what_they_say() {
        assert_eq!(failure(&service_specific(10, "late")), Failure::ServiceSpecific(10));
        let bad = illegal_argument("name is empty");
        assert_eq!(failure(&bad), Failure::IllegalArgument("name is empty".into()));
    }

    #[test]
    fn transport_failures_are_told_apart() {
        let of = |status: StatusCode| failure(&Status::from(status));
        assert_eq!(of(StatusCode::DeadObject), Failure::DeadObject);
        assert_eq!(of(StatusCode::BadFd), Failure::BadFd);
        assert_eq!(of(StatusCode::NameNotFound), Failure::NameNotFound);
        assert!(matches!(of(StatusCode::FailedTransaction), Failure::Other(_)));
    }
}
