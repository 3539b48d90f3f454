// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Binder objects and references to them.

use std::any::Any;
use std::ffi::CStr;
use std::io::Write;
use std::ops::Deref;
use std::os::fd::AsRawFd;

use crate::error::StatusCode;
use crate::parcel::{BorrowedParcel, Parcel};
use crate::proxy::{DeathRecipient, SpIBinder};

type Result<T> = std::result::Result<T, StatusCode>;

pub type TransactionCode = u32;
pub type TransactionFlags = u32;

pub const FIRST_CALL_TRANSACTION: TransactionCode = 1;
pub const LAST_CALL_TRANSACTION: TransactionCode = 0x00ff_ffff;
pub const FLAG_ONEWAY: TransactionFlags = 1;
pub const FLAG_CLEAR_BUF: TransactionFlags = 0x20;
pub const FLAG_PRIVATE_LOCAL: TransactionFlags = 0x1000_0000;

/// The original requires `DowncastSync`, which has these bounds.
pub trait Interface: Send + Sync + Any {
    fn as_binder(&self) -> SpIBinder {
        unimplemented!()
    }

    fn dump(&self, _writer: &mut dyn Write, _args: &[&CStr]) -> Result<()> {
        unimplemented!()
    }
}

pub trait FromIBinder: Interface {
    fn try_from(ibinder: SpIBinder) -> Result<Strong<Self>>;
}

pub trait ToAsyncInterface<P>: Interface
where
    Self::Target: FromIBinder,
{
    type Target: ?Sized;
}

pub trait ToSyncInterface: Interface
where
    Self::Target: FromIBinder,
{
    type Target: ?Sized;
}

#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stability {
    #[default]
    Local,
    Vintf,
}

#[derive(Copy, Clone, PartialEq, Eq)]
pub struct InterfaceClass(());

pub trait Remotable: Send + Sync + 'static {
    fn get_descriptor() -> &'static str;
    fn on_transact(
        &self,
        code: TransactionCode,
        data: &BorrowedParcel<'_>,
        reply: &mut BorrowedParcel<'_>,
    ) -> Result<()>;
    fn on_dump(&self, file: &mut dyn Write, args: &[&CStr]) -> Result<()>;
    fn get_class() -> InterfaceClass;
}

pub struct Binder<T: Remotable>(T);

impl<T: Remotable> Binder<T> {
    pub fn new_with_stability(_rust_object: T, _stability: Stability) -> Binder<T> {
        unimplemented!()
    }
}

impl<T: Remotable> Interface for Binder<T> {}

impl<T: Remotable> Deref for Binder<T> {
    type Target = T;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Remotable> TryFrom<SpIBinder> for Binder<T> {
    type Error = StatusCode;

    fn try_from(_: SpIBinder) -> Result<Self> {
        unimplemented!()
    }
}

pub trait IBinder {
    fn link_to_death(&mut self, recipient: &mut DeathRecipient) -> Result<()>;
    fn unlink_to_death(&mut self, recipient: &mut DeathRecipient) -> Result<()>;
    fn ping_binder(&mut self) -> Result<()>;
}

pub trait IBinderInternal: IBinder {
    fn is_binder_alive(&self) -> bool;
    fn dump<F: AsRawFd>(&mut self, fp: &F, args: &[&str]) -> Result<()>;
    fn get_extension(&mut self) -> Result<Option<SpIBinder>>;
    fn prepare_transact(&self) -> Result<Parcel>;
    fn submit_transact(
        &self,
        code: TransactionCode,
        data: Parcel,
        flags: TransactionFlags,
    ) -> Result<Parcel>;
}

pub struct Strong<I: FromIBinder + ?Sized>(Box<I>);

impl<I: FromIBinder + ?Sized> Strong<I> {
    pub fn new(binder: Box<I>) -> Self {
        Self(binder)
    }
}

impl<I: FromIBinder + ?Sized> Clone for Strong<I> {
    fn clone(&self) -> Self {
        unimplemented!()
    }
}

impl<I: FromIBinder + ?Sized> Deref for Strong<I> {
    type Target = I;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<I: FromIBinder + std::fmt::Debug + ?Sized> std::fmt::Debug for Strong<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<I: FromIBinder + ?Sized> PartialEq for Strong<I> {
    fn eq(&self, _: &Self) -> bool {
        unimplemented!()
    }
}

impl<I: FromIBinder + ?Sized> Eq for Strong<I> {}

impl<I: FromIBinder + ?Sized> AsRef<I> for Strong<I> {
    fn as_ref(&self) -> &I {
        &self.0
    }
}

impl<I: FromIBinder + ?Sized> std::borrow::Borrow<I> for Strong<I> {
    fn borrow(&self) -> &I {
        &self.0
    }
}

#[derive(Default)]
pub struct BinderFeatures {
    /// The platform variant has a field here (`set_requesting_sid`), a vendor variant has none.
    _non_exhaustive: (),
}

/// Declares the class and the proxy of an interface, in the form that AOSP's compiler uses.
#[macro_export]
macro_rules! declare_binder_interface {
    {
        $interface:path[$descriptor:expr] {
            native: $native:ident($on_transact:path),
            proxy: $proxy:ident {
                $($field:ident: $type:ty = $value:expr),*
            },
            async: $async_interface:ident,
            stability: $stability:expr,
        }
    } => {
        pub struct $proxy {
            binder: $crate::SpIBinder,
            $($field: $type,)*
        }

        impl $crate::Interface for $proxy {}

        impl $crate::binder_impl::Proxy for $proxy
        where
            $proxy: $interface,
        {
            fn get_descriptor() -> &'static str {
                $descriptor
            }

            fn from_binder(
                binder: $crate::SpIBinder,
            ) -> std::result::Result<Self, $crate::StatusCode> {
                Ok(Self { binder, $($field: $value),* })
            }
        }

        pub struct $native(Box<dyn $interface + Sync + Send + 'static>);

        impl $native {
            pub fn new_binder<T: $interface + Sync + Send + 'static>(
                inner: T,
                _features: $crate::BinderFeatures,
            ) -> $crate::Strong<dyn $interface> {
                let native = $native(Box::new(inner));
                let binder = $crate::binder_impl::Binder::new_with_stability(native, $stability);
                $crate::Strong::new(Box::new(binder))
            }

            pub fn downcast_binder<T: $interface>(&self) -> Option<&T> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::Remotable for $native {
            fn get_descriptor() -> &'static str {
                $descriptor
            }

            fn on_transact(
                &self,
                code: $crate::binder_impl::TransactionCode,
                data: &$crate::binder_impl::BorrowedParcel<'_>,
                reply: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                $on_transact(&*self.0, code, data, reply)
            }

            fn on_dump(
                &self,
                writer: &mut dyn std::io::Write,
                args: &[&std::ffi::CStr],
            ) -> std::result::Result<(), $crate::StatusCode> {
                self.0.dump(writer, args)
            }

            fn get_class() -> $crate::binder_impl::InterfaceClass {
                unimplemented!()
            }
        }

        $crate::declare_binder_interface! { @reference [] $interface }
        $crate::declare_binder_interface! {
            @reference [P: $crate::BinderAsyncPool + 'static] $async_interface<P>
        }

        impl<P: $crate::BinderAsyncPool + 'static> $crate::binder_impl::ToAsyncInterface<P>
            for dyn $interface
        {
            type Target = dyn $async_interface<P>;
        }

        impl<P: $crate::BinderAsyncPool + 'static> $crate::binder_impl::ToSyncInterface
            for dyn $async_interface<P>
        {
            type Target = dyn $interface;
        }
    };

    { @reference [$($param:tt)*] $interface:path } => {
        impl<$($param)*> $crate::FromIBinder for dyn $interface {
            fn try_from(
                _: $crate::SpIBinder,
            ) -> std::result::Result<$crate::Strong<dyn $interface>, $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl<$($param)*> $crate::binder_impl::Serialize for dyn $interface + '_
        where
            dyn $interface: $crate::Interface,
        {
            fn serialize(
                &self,
                _: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl<$($param)*> $crate::binder_impl::SerializeOption for dyn $interface + '_ {}

        impl<$($param)*> std::fmt::Debug for dyn $interface + '_ {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                unimplemented!()
            }
        }

        impl<$($param)*> std::borrow::ToOwned for dyn $interface {
            type Owned = $crate::Strong<dyn $interface>;
            fn to_owned(&self) -> Self::Owned {
                unimplemented!()
            }
        }
    };
}

/// Declares an AIDL enum: a number with named values.
#[macro_export]
macro_rules! declare_binder_enum {
    {
        $(#[$attr:meta])*
        $enum:ident : [$backing:ty; $size:expr] {
            $($(#[$value_attr:meta])* $name:ident = $value:expr,)*
        }
    } => {
        $(#[$attr])*
        #[derive(Debug, Default, Copy, Clone, PartialOrd, Ord, PartialEq, Eq, Hash)]
        pub struct $enum(pub $backing);

        impl $enum {
            $($(#[$value_attr])* pub const $name: Self = Self($value);)*

            pub const fn enum_values() -> [Self; $size] {
                [$(Self::$name),*]
            }
        }

        $crate::written_signatures! { $enum }
        $crate::read_signatures! { $enum }
    };
}
