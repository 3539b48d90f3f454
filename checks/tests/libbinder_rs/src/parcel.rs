// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Parcels, and the traits of the values in them.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::binder::{Binder, FromIBinder, Remotable, Stability, Strong};
use crate::error::{Status, StatusCode};
use crate::file_descriptor::ParcelFileDescriptor;
use crate::proxy::SpIBinder;

type Result<T> = std::result::Result<T, StatusCode>;

pub const NON_NULL_PARCELABLE_FLAG: i32 = 1;
pub const NULL_PARCELABLE_FLAG: i32 = 0;

/// `Send`, not `Sync`.
pub struct Parcel(PhantomData<Cell<()>>);

/// Neither `Send` nor `Sync`.
pub struct BorrowedParcel<'a>(PhantomData<(&'a mut Parcel, *mut ())>);

pub struct WritableSubParcel<'a>(PhantomData<BorrowedParcel<'a>>);

pub struct ReadableSubParcel<'a>(PhantomData<BorrowedParcel<'a>>);

impl Parcel {
    pub fn borrowed(&mut self) -> BorrowedParcel<'_> {
        unimplemented!()
    }

    pub fn borrowed_ref(&self) -> &BorrowedParcel<'_> {
        unimplemented!()
    }

    pub fn write<S: Serialize + ?Sized>(&mut self, _parcelable: &S) -> Result<()> {
        unimplemented!()
    }

    pub fn read<D: Deserialize>(&self) -> Result<D> {
        unimplemented!()
    }

    pub fn read_onto<D: Deserialize>(&self, _x: &mut D) -> Result<()> {
        unimplemented!()
    }

    pub fn write_slice_size<T>(&mut self, _slice: Option<&[T]>) -> Result<()> {
        unimplemented!()
    }
}

impl BorrowedParcel<'_> {
    pub fn write<S: Serialize + ?Sized>(&mut self, _parcelable: &S) -> Result<()> {
        unimplemented!()
    }

    pub fn read<D: Deserialize>(&self) -> Result<D> {
        unimplemented!()
    }

    pub fn read_onto<D: Deserialize>(&self, _x: &mut D) -> Result<()> {
        unimplemented!()
    }

    pub fn sized_write<F>(&mut self, _f: F) -> Result<()>
    where
        for<'b> F: FnOnce(&'b mut WritableSubParcel<'b>) -> Result<()>,
    {
        unimplemented!()
    }

    pub fn sized_read<F>(&self, _f: F) -> Result<()>
    where
        for<'b> F: FnOnce(ReadableSubParcel<'b>) -> Result<()>,
    {
        unimplemented!()
    }

    pub fn resize_out_vec<D: Default + Deserialize>(&self, _out_vec: &mut Vec<D>) -> Result<()> {
        unimplemented!()
    }
}

impl WritableSubParcel<'_> {
    pub fn write<S: Serialize + ?Sized>(&mut self, _parcelable: &S) -> Result<()> {
        unimplemented!()
    }
}

impl ReadableSubParcel<'_> {
    pub fn read<D: Deserialize>(&self) -> Result<D> {
        unimplemented!()
    }

    pub fn has_more_data(&self) -> bool {
        unimplemented!()
    }
}

pub trait Parcelable {
    fn write_to_parcel(&self, parcel: &mut BorrowedParcel<'_>) -> Result<()>;
    fn read_from_parcel(&mut self, parcel: &BorrowedParcel<'_>) -> Result<()>;
}

pub trait ParcelableMetadata {
    fn get_descriptor() -> &'static str;

    fn get_stability(&self) -> Stability {
        unimplemented!()
    }
}

pub trait Serialize {
    fn serialize(&self, parcel: &mut BorrowedParcel<'_>) -> Result<()>;
}

pub trait Deserialize: Sized {
    /// `Self`, or `Option<Self>` for a type without a default: an element of an array that is being read.
    type UninitType;

    fn uninit() -> Self::UninitType;
    fn from_init(value: Self) -> Self::UninitType;
    fn deserialize(parcel: &BorrowedParcel<'_>) -> Result<Self>;

    fn deserialize_from(&mut self, _parcel: &BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

pub trait SerializeArray: Serialize + Sized {
    fn serialize_array(_slice: &[Self], _parcel: &mut BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

pub trait DeserializeArray: Deserialize {
    fn deserialize_array(_parcel: &BorrowedParcel<'_>) -> Result<Option<Vec<Self>>> {
        unimplemented!()
    }
}

pub trait SerializeOption: Serialize {
    fn serialize_option(_this: Option<&Self>, _parcel: &mut BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

pub trait DeserializeOption: Deserialize {
    fn deserialize_option(_parcel: &BorrowedParcel<'_>) -> Result<Option<Self>> {
        unimplemented!()
    }

    fn deserialize_option_from(_this: &mut Option<Self>, _: &BorrowedParcel<'_>) -> Result<()> {
        unimplemented!()
    }
}

/// Implements the traits of values that can be written, for types with parameters.
macro_rules! written {
    ($($trait:ident for [$($param:tt)*] $type:ty;)*) => { $(written! { @ $trait [$($param)*] $type })* };
    (@ Serialize [$($param:tt)*] $type:ty) => {
        impl<$($param)*> Serialize for $type {
            fn serialize(&self, _: &mut BorrowedParcel<'_>) -> Result<()> {
                unimplemented!()
            }
        }
    };
    (@ $trait:ident [$($param:tt)*] $type:ty) => {
        impl<$($param)*> $trait for $type {}
    };
}

/// Implements the traits of values that can be read, for types with parameters. `Deserialize` gives
/// the `UninitType`.
macro_rules! read {
    ($($trait:ident $(($uninit:ty))? for [$($param:tt)*] $type:ty;)*) => {
        $(read! { @ $trait $(($uninit))? [$($param)*] $type })*
    };
    (@ Deserialize ($uninit:ty) [$($param:tt)*] $type:ty) => {
        impl<$($param)*> Deserialize for $type {
            type UninitType = $uninit;
            fn uninit() -> Self::UninitType {
                unimplemented!()
            }
            fn from_init(_: Self) -> Self::UninitType {
                unimplemented!()
            }
            fn deserialize(_: &BorrowedParcel<'_>) -> Result<Self> {
                unimplemented!()
            }
        }
    };
    (@ $trait:ident [$($param:tt)*] $type:ty) => {
        impl<$($param)*> $trait for $type {}
    };
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        written! { Serialize for [] $type; SerializeArray for [] $type; }
        read! { Deserialize(Self) for [] $type; DeserializeArray for [] $type; }
    )* };
}

numbers! { bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 }

written! {
    Serialize for [] str;
    SerializeOption for [] str;
    SerializeArray for [] &str;
    Serialize for [] String;
    SerializeArray for [] String;
    SerializeOption for [] String;
    Serialize for [] Stability;
    Serialize for [] Status;
    Serialize for [] SpIBinder;
    SerializeArray for [] SpIBinder;
    SerializeOption for [] SpIBinder;
    Serialize for [] ParcelFileDescriptor;
    SerializeArray for [] ParcelFileDescriptor;
    SerializeOption for [] ParcelFileDescriptor;
    Serialize for [B: Remotable] Binder<B>;
    Serialize for [T: Serialize + FromIBinder + ?Sized] Strong<T>;
    SerializeOption for [T: SerializeOption + FromIBinder + ?Sized] Strong<T>;
    SerializeArray for [T: Serialize + FromIBinder + ?Sized] Strong<T>;
    Serialize for [T: SerializeArray] [T];
    SerializeOption for [T: SerializeArray] [T];
    Serialize for [T: SerializeArray] Vec<T>;
    SerializeOption for [T: SerializeArray] Vec<T>;
    Serialize for [T: SerializeArray, const N: usize] [T; N];
    SerializeOption for [T: SerializeArray, const N: usize] [T; N];
    SerializeArray for [T: SerializeArray, const N: usize] [T; N];
    Serialize for [T: Serialize + ?Sized] &T;
    SerializeOption for [T: SerializeOption + ?Sized] &T;
    Serialize for [T: SerializeOption] Option<T>;
    SerializeArray for [T: SerializeOption] Option<T>;
    Serialize for [T: Serialize] Box<T>;
    SerializeOption for [T: SerializeOption] Box<T>;
}

read! {
    Deserialize(Self) for [] String;
    DeserializeArray for [] String;
    Deserialize(Self) for [] Option<String>;
    DeserializeArray for [] Option<String>;
    Deserialize(Self) for [] Stability;
    Deserialize(Option<Self>) for [] Status;
    Deserialize(Option<Self>) for [] SpIBinder;
    DeserializeArray for [] SpIBinder;
    DeserializeOption for [] SpIBinder;
    Deserialize(Option<Self>) for [] ParcelFileDescriptor;
    DeserializeArray for [] ParcelFileDescriptor;
    DeserializeOption for [] ParcelFileDescriptor;
    Deserialize(Option<Self>) for [T: FromIBinder + ?Sized] Strong<T>;
    DeserializeArray for [T: FromIBinder + ?Sized] Strong<T>;
    DeserializeOption for [T: FromIBinder + ?Sized] Strong<T>;
    Deserialize(Self) for [T: DeserializeArray] Vec<T>;
    DeserializeOption for [T: DeserializeArray] Vec<T>;
    Deserialize([T::UninitType; N]) for [T: DeserializeArray, const N: usize] [T; N];
    DeserializeOption for [T: DeserializeArray, const N: usize] [T; N];
    DeserializeArray for [T: DeserializeArray, const N: usize] [T; N];
    Deserialize(Self) for [T: DeserializeOption] Option<T>;
    DeserializeArray for [T: DeserializeOption] Option<T>;
    Deserialize(Option<Self>) for [T: Deserialize] Box<T>;
    DeserializeOption for [T: DeserializeOption] Box<T>;
}

#[macro_export]
macro_rules! impl_serialize_for_parcelable {
    ($parcelable:ident) => {
        $crate::written_signatures! { $parcelable: $crate::Parcelable }

        impl $crate::binder_impl::SerializeOption for $parcelable {}
    };
}

#[macro_export]
macro_rules! impl_deserialize_for_parcelable {
    ($parcelable:ident) => {
        $crate::read_signatures! { $parcelable: $crate::Parcelable + Default }

        impl $crate::binder_impl::DeserializeOption for $parcelable {}
    };
}

/// The traits that generated types have, in the macros above and in `declare_binder_enum`.
#[doc(hidden)]
#[macro_export]
macro_rules! written_signatures {
    ($type:ident $(: $($bound:tt)+)?) => {
        impl $crate::binder_impl::Serialize for $type $(where $type: $($bound)+)? {
            fn serialize(
                &self,
                _: &mut $crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<(), $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::SerializeArray for $type {}
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! read_signatures {
    ($type:ident $(: $($bound:tt)+)?) => {
        impl $crate::binder_impl::Deserialize for $type $(where $type: $($bound)+)? {
            type UninitType = Self;
            fn uninit() -> Self::UninitType {
                unimplemented!()
            }
            fn from_init(_: Self) -> Self::UninitType {
                unimplemented!()
            }
            fn deserialize(
                _: &$crate::binder_impl::BorrowedParcel<'_>,
            ) -> std::result::Result<Self, $crate::StatusCode> {
                unimplemented!()
            }
        }

        impl $crate::binder_impl::DeserializeArray for $type {}
    };
}
