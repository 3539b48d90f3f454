// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What Android's libbinder_rs has, as far as buffersync may come to use it: signatures only.
//!
//! Nothing runs with this crate. `cargo xtask test` compiles against it what Android.bp lists, so
//! that a call that only rsbinder has is found here and not in Android's tree. Written after the
//! public interface of `frameworks/native/libs/binder/rust` (lib.rs, binder.rs, error.rs, state.rs,
//! service.rs, parcel/file_descriptor.rs, proxy.rs; Android 16): a bound, a receiver or a return
//! type that differs from there is a mistake here. It knows nothing of buffersync.

mod binder;
mod error;
mod file_descriptor;
mod proxy;
mod service;
mod state;

pub use binder::{BinderFeatures, FromIBinder, IBinder, Interface, Strong};
pub use error::{ExceptionCode, Status, StatusCode};
pub use file_descriptor::ParcelFileDescriptor;
pub use proxy::{DeathRecipient, SpIBinder};
pub use service::{
    add_service, check_interface, check_service, get_declared_instances, is_declared,
    is_handling_transaction, wait_for_interface, wait_for_service,
};
pub use state::{ProcessState, ThreadState};

/// Result of an AIDL method.
pub type Result<T> = std::result::Result<T, Status>;

/// What generated code uses, and what is called on a binder without an interface.
pub mod binder_impl {
    pub use crate::binder::{IBinderInternal, TransactionCode, TransactionFlags};
    pub use crate::error::status_t;
}
