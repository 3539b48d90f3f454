// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Errors become `BufferSyncException(int code, String message)`; a panic becomes one too.

use std::any::Any;

use buffersync_client::Error;
use jni::errors::ErrorPolicy;
use jni::objects::{JString, JThrowable, JValue};
use jni::{jni_sig, jni_str, Env};

/// Why a native method ends without a result.
#[derive(Debug)]
pub enum Failure {
    /// The client's error.
    Client(Error),
    /// JNI's; the exception may be thrown already.
    Jni(jni::errors::Error),
}

/// Result of a native method.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl From<jni::errors::Error> for Failure {
    fn from(error: jni::errors::Error) -> Self {
        Self::Jni(error)
    }
}

/// For `native_method!`.
#[derive(Debug)]
pub struct Throw;

impl<T: Default> ErrorPolicy<T, Failure> for Throw {
    type Captures<'unowned_env_local: 'native_method, 'native_method> = ();

    fn on_error<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        (): &mut Self::Captures<'unowned_env_local, 'native_method>,
        failure: Failure,
    ) -> jni::errors::Result<T> {
        if !env.exception_check() {
            let (code, message) = match failure {
                Failure::Client(error) => (error.code(), error.to_string()),
                Failure::Jni(error) => (internal(), error.to_string()),
            };
            throw(env, code, &message)?;
        }
        Ok(T::default())
    }

    fn on_panic<'unowned_env_local: 'native_method, 'native_method>(
        env: &mut Env<'unowned_env_local>,
        (): &mut Self::Captures<'unowned_env_local, 'native_method>,
        // The words were printed by the panic hook.
        _: Box<dyn Any + Send + 'static>,
    ) -> jni::errors::Result<T> {
        throw(env, internal(), "a bug in libbuffersync_jni")?;
        Ok(T::default())
    }
}

fn internal() -> i32 {
    Error::Protocol("").code()
}

fn throw(env: &mut Env<'_>, code: i32, message: &str) -> jni::errors::Result<()> {
    let message = JString::from_str(env, message)?;
    let exception = env.new_object(
        jni_str!("vendor/buffersync/BufferSyncException"),
        jni_sig!("(ILjava/lang/String;)V"),
        &[JValue::Int(code), JValue::Object(&message)],
    )?;
    let exception = env.cast_local::<JThrowable<'_>>(exception)?;
    match env.throw(exception) {
        // As it reports that there is an exception now.
        Err(jni::errors::Error::JavaException) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}
