// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Statuses: how a call ended.

use std::ffi::CStr;
use std::fmt;

#[allow(non_camel_case_types, reason = "libbinder_rs's name")]
pub type status_t = i32;

#[allow(non_camel_case_types, reason = "the names are utils/Errors.h's")]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
#[repr(i32)]
pub enum StatusCode {
    OK = 0,
    UNKNOWN_ERROR = i32::MIN,
    NO_MEMORY = -12,
    INVALID_OPERATION = -38,
    BAD_VALUE = -22,
    BAD_TYPE = i32::MIN + 1,
    NAME_NOT_FOUND = -2,
    PERMISSION_DENIED = -1,
    NO_INIT = -19,
    ALREADY_EXISTS = -17,
    DEAD_OBJECT = -32,
    FAILED_TRANSACTION = i32::MIN + 2,
    BAD_INDEX = -75,
    NOT_ENOUGH_DATA = -61,
    WOULD_BLOCK = -11,
    TIMED_OUT = -110,
    UNKNOWN_TRANSACTION = -74,
    FDS_NOT_ALLOWED = i32::MIN + 7,
    UNEXPECTED_NULL = i32::MIN + 8,
}

#[allow(non_camel_case_types, reason = "the names are binder_status.h's")]
#[derive(Debug, Copy, Clone, Hash, PartialEq, Eq)]
#[repr(i32)]
pub enum ExceptionCode {
    NONE = 0,
    SECURITY = -1,
    BAD_PARCELABLE = -2,
    ILLEGAL_ARGUMENT = -3,
    NULL_POINTER = -4,
    ILLEGAL_STATE = -5,
    NETWORK_MAIN_THREAD = -6,
    UNSUPPORTED_OPERATION = -7,
    SERVICE_SPECIFIC = -8,
    PARCELABLE = -9,
    TRANSACTION_FAILED = -129,
}

/// Not `Clone`.
pub struct Status(());

impl Status {
    pub fn ok() -> Self {
        unimplemented!()
    }

    pub fn new_service_specific_error(_err: i32, _message: Option<&CStr>) -> Status {
        unimplemented!()
    }

    pub fn new_service_specific_error_str<T: AsRef<str>>(_err: i32, _message: Option<T>) -> Status {
        unimplemented!()
    }

    pub fn new_exception(_exception: ExceptionCode, _message: Option<&CStr>) -> Status {
        unimplemented!()
    }

    pub fn new_exception_str<T: AsRef<str>>(
        _exception: ExceptionCode,
        _message: Option<T>,
    ) -> Status {
        unimplemented!()
    }

    pub fn is_ok(&self) -> bool {
        unimplemented!()
    }

    pub fn get_description(&self) -> String {
        unimplemented!()
    }

    pub fn exception_code(&self) -> ExceptionCode {
        unimplemented!()
    }

    pub fn transaction_error(&self) -> StatusCode {
        unimplemented!()
    }

    pub fn service_specific_error(&self) -> i32 {
        unimplemented!()
    }
}

impl std::error::Error for Status {}

impl fmt::Display for Status {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

impl PartialEq for Status {
    fn eq(&self, _: &Status) -> bool {
        unimplemented!()
    }
}

impl Eq for Status {}

impl From<StatusCode> for Status {
    fn from(_: StatusCode) -> Status {
        unimplemented!()
    }
}

impl From<status_t> for Status {
    fn from(_: status_t) -> Status {
        unimplemented!()
    }
}

impl From<ExceptionCode> for Status {
    fn from(_: ExceptionCode) -> Status {
        unimplemented!()
    }
}
