// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What Android's libbinder_rs has, as far as buffersync may come to use it: signatures only.
//!
//! Nothing runs with this crate. `cargo xtask test` compiles against it what Android.bp lists, and
//! the bindings that AOSP's AIDL compiler writes, so that a call that only rsbinder has is found here
//! and not in Android's tree. Written after the public interface of
//! `frameworks/native/libs/binder/rust` (Android 15 and 16; a vendor's variant): a bound, a receiver
//! or a return type that differs from there is a mistake here. It knows nothing of buffersync.

mod binder;
mod binder_async;
mod error;
mod file_descriptor;
mod parcel;
mod proxy;
mod service;
mod state;

pub use crate::binder_async::{BinderAsyncPool, BoxFuture};
pub use binder::{BinderFeatures, FromIBinder, IBinder, Interface, Strong};
pub use error::{ExceptionCode, Status, StatusCode};
pub use file_descriptor::ParcelFileDescriptor;
pub use parcel::Parcelable;
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
    pub use crate::binder::{
        Binder, IBinderInternal, InterfaceClass, Remotable, Stability, ToAsyncInterface,
        ToSyncInterface, TransactionCode, TransactionFlags, FIRST_CALL_TRANSACTION, FLAG_CLEAR_BUF,
        FLAG_ONEWAY, FLAG_PRIVATE_LOCAL, LAST_CALL_TRANSACTION,
    };
    pub use crate::binder_async::BinderAsyncRuntime;
    pub use crate::error::status_t;
    pub use crate::parcel::{
        BorrowedParcel, Deserialize, DeserializeArray, DeserializeOption, Parcel,
        ParcelableMetadata, Serialize, SerializeArray, SerializeOption, NON_NULL_PARCELABLE_FLAG,
        NULL_PARCELABLE_FLAG,
    };
    pub use crate::proxy::{AssociateClass, Proxy};
}
