// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What libbinder_rs has differently from rsbinder: Android's side.
//!
//! `rsbinder.rs` beside this file is the other side and has the same items. Nothing else in the tree
//! knows which of the two it is built with. `cargo xtask test` compiles this one against a crate
//! with libbinder_rs's signatures.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use binder::binder_impl::IBinderInternal;
use binder::{
    ExceptionCode, FromIBinder, Interface, ProcessState, SpIBinder, Status, StatusCode, Strong,
};

use crate::failure::Failure;

/// `android.hardware.common.NativeHandle`.
pub use android_hardware_common::aidl::android::hardware::common::NativeHandle::NativeHandle;
/// The AIDL package `vendor.buffersync`.
pub use vendor_buffersync::aidl::vendor;

/// The driver that libbinder opens for a vendor process that serves, or calls, a VINTF interface.
const DRIVER: &str = "/dev/binder";

/// One of the words of `dumpsys INSTANCE WORD...`, as `Interface::dump` gets them.
pub type DumpArgument<'a> = &'a CStr;

/// The text of such a word.
pub fn dump_argument(argument: &DumpArgument<'_>) -> String {
    argument.to_string_lossy().into_owned()
}

/// What a dump is refused with while another one is being written.
pub const WOULD_BLOCK: StatusCode = StatusCode::WOULD_BLOCK;
/// What a dump is refused with that can't be written.
pub const FAILED_TRANSACTION: StatusCode = StatusCode::FAILED_TRANSACTION;

/// Makes an object that can be called: `new_binder!(BnFoo, foo)` for the generated class `BnFoo`.
#[macro_export]
macro_rules! new_binder {
    ($class:ty, $object:expr) => {
        <$class>::new_binder($object, ::binder::BinderFeatures::default())
    };
}

/// Bounds the thread pool: the kernel starts at most `max_threads` threads beside those that join
/// by themselves; `None` leaves what the process has (an app's pool is its own). libbinder opens
/// the driver by itself, and `/dev/binder` only.
pub fn open_driver(device: &str, max_threads: Option<u32>) -> Result<(), String> {
    if device != DRIVER {
        return Err(format!("{device}: libbinder opens {DRIVER} only"));
    }
    if let Some(threads) = max_threads {
        ProcessState::set_thread_pool_max_thread_count(threads);
    }
    Ok(())
}

/// libbinder keeps what it needs of a thread by itself, and needs no Rust for it.
pub fn prepare_thread() {}

/// Registers an object with the service manager; on an error, what libbinder makes of its answer.
pub fn add_service(name: &str, object: SpIBinder) -> Result<(), String> {
    binder::add_service(name, object).map_err(|status| format!("{status:?}"))
}

/// Has the object print its state to `fd`. Returns when it has.
pub fn dump<T: FromIBinder + Interface + ?Sized>(
    object: &Strong<T>,
    fd: OwnedFd,
    arguments: &[&str],
) -> Result<(), Failure> {
    object.as_binder().dump(&fd, arguments).map_err(failure_of_transport)
}

/// A status that carries a service-specific error.
pub fn service_specific(code: i32, message: &str) -> Status {
    Status::new_service_specific_error_str(code, Some(message))
}

/// A status that says that an argument is bad.
pub fn illegal_argument(message: &str) -> Status {
    Status::new_exception_str(ExceptionCode::ILLEGAL_ARGUMENT, Some(message))
}

/// What the status of a call says.
pub fn failure(status: &Status) -> Failure {
    match status.exception_code() {
        ExceptionCode::SERVICE_SPECIFIC => {
            Failure::ServiceSpecific(status.service_specific_error())
        }
        ExceptionCode::ILLEGAL_ARGUMENT => Failure::IllegalArgument(status.get_description()),
        ExceptionCode::TRANSACTION_FAILED => failure_of_transport(status.transaction_error()),
        _ => Failure::Other(status.get_description()),
    }
}

/// What the status of a look-up, or of a call that did not get through, says. A descriptor that is
/// not open fails the whole transaction here, without saying why.
pub fn failure_of_transport(status: StatusCode) -> Failure {
    match status {
        StatusCode::NAME_NOT_FOUND => Failure::NameNotFound,
        StatusCode::DEAD_OBJECT => Failure::DeadObject,
        other => Failure::Other(format!("{other:?}")),
    }
}
