// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-servicemanager SERVICE_CONTEXTS`: a service manager that asks SELinux, like Android's.
//!
//! rsb_hub decides by uid. Android's servicemanager asks the loaded policy for `service_manager { add find
//! list }`, with the caller's context and the context that `service_contexts` has for the name
//! (frameworks/native/cmds/servicemanager: Access.cpp). This program shows that the vendor's rules of that
//! class are right and needed. It has the calls that clients and service use: add, look up, list. It does
//! not notify clients of later registrations, and starts no services.

#![allow(non_snake_case, reason = "AIDL's names")]

mod selinux;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use buffersync_testbed_guest::selinux::allows;
use rsbinder::hub::android_16::android::os;
use rsbinder::hub::android_16::{BnServiceManager, IServiceManager};
use rsbinder::{BinderResult, ExceptionCode, Interface, ProcessState, SIBinder, Status, Strong};

const DEVICE: &str = "/dev/binder";
/// The context of a name that is not in `service_contexts`.
const UNKNOWN: &str = "u:object_r:default_android_service:s0";
/// The target context for `list`.
const OWN: &str = "u:r:servicemanager:s0";

struct ServiceManager {
    /// Contexts by name.
    contexts: BTreeMap<String, String>,
    services: Mutex<BTreeMap<String, SIBinder>>,
}

impl ServiceManager {
    /// Asks the policy if the caller has the permission for the name.
    fn may(&self, permission: &str, name: &str) -> bool {
        let (uid, pid) = (rsbinder::get_calling_uid(), rsbinder::get_calling_pid());
        // The kernel tells the context manager the context of each caller.
        let source = rsbinder::get_calling_sid().map(|sid| sid.to_string_lossy().into_owned());
        let source = source.unwrap_or_default();
        let own = || if permission == "list" { OWN } else { UNKNOWN };
        let target = self.contexts.get(name).map_or_else(own, String::as_str);
        match allows(&source, target, selinux::CLASS, permission) {
            Ok(true) => true,
            denied => {
                if let Err(error) = denied {
                    eprintln!("{source} {target}: {error}");
                }
                selinux::audit(permission, name, uid, pid, &source, target);
                !selinux::is_enforced()
            }
        }
    }

    fn services(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, SIBinder>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<SIBinder> {
        if self.may("find", name) {
            self.services().get(name).cloned()
        } else {
            None
        }
    }

    fn found(&self, name: &str) -> os::Service::Service {
        let service = self.find(name);
        os::Service::Service::ServiceWithMetadata(os::ServiceWithMetadata::ServiceWithMetadata {
            service,
            isLazyService: false,
        })
    }
}

impl Interface for ServiceManager {}

fn refused() -> Status {
    (ExceptionCode::Security, "SELinux denied").into()
}

fn unsupported<T>() -> BinderResult<T> {
    Err(ExceptionCode::UnsupportedOperation.into())
}

impl IServiceManager for ServiceManager {
    fn getService(&self, name: &str) -> BinderResult<Option<SIBinder>> {
        Ok(self.find(name))
    }

    fn getService2(&self, name: &str) -> BinderResult<os::Service::Service> {
        Ok(self.found(name))
    }

    fn checkService(&self, name: &str) -> BinderResult<Option<SIBinder>> {
        Ok(self.find(name))
    }

    fn checkService2(&self, name: &str) -> BinderResult<os::Service::Service> {
        Ok(self.found(name))
    }

    fn addService(&self, name: &str, service: &SIBinder, _: bool, _: i32) -> BinderResult<()> {
        if !self.may("add", name) {
            return Err(refused());
        }
        self.services().insert(name.to_string(), service.clone());
        Ok(())
    }

    fn listServices(&self, _: i32) -> BinderResult<Vec<String>> {
        if !self.may("list", "service_manager") {
            return Err(refused());
        }
        Ok(self.services().keys().cloned().collect())
    }

    fn isDeclared(&self, name: &str) -> BinderResult<bool> {
        Ok(self.may("find", name) && self.contexts.contains_key(name))
    }

    fn getDeclaredInstances(&self, interface: &str) -> BinderResult<Vec<String>> {
        let declared = self.contexts.keys().filter(|name| self.may("find", name));
        let instances = declared.filter_map(|name| name.strip_prefix(interface)?.strip_prefix('/'));
        Ok(instances.map(str::to_string).collect())
    }

    fn registerForNotifications(
        &self,
        _: &str,
        _: &Strong<dyn os::IServiceCallback::IServiceCallback>,
    ) -> BinderResult<()> {
        unsupported()
    }

    fn unregisterForNotifications(
        &self,
        _: &str,
        _: &Strong<dyn os::IServiceCallback::IServiceCallback>,
    ) -> BinderResult<()> {
        unsupported()
    }

    fn updatableViaApex(&self, _: &str) -> BinderResult<Option<String>> {
        Ok(None)
    }

    fn getUpdatableNames(&self, _: &str) -> BinderResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn getConnectionInfo(
        &self,
        _: &str,
    ) -> BinderResult<Option<os::ConnectionInfo::ConnectionInfo>> {
        Ok(None)
    }

    fn registerClientCallback(
        &self,
        _: &str,
        _: &SIBinder,
        _: &Strong<dyn os::IClientCallback::IClientCallback>,
    ) -> BinderResult<()> {
        unsupported()
    }

    fn tryUnregisterService(&self, _: &str, _: &SIBinder) -> BinderResult<()> {
        unsupported()
    }

    fn getServiceDebugInfo(&self) -> BinderResult<Vec<os::ServiceDebugInfo::ServiceDebugInfo>> {
        unsupported()
    }
}

/// Parses names and their contexts.
fn contexts(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(char::is_whitespace));
    pairs.map(|(name, context)| (name.to_string(), context.trim().to_string())).collect()
}

fn serve(file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let contexts = contexts(&std::fs::read_to_string(file)?);
    ProcessState::init(DEVICE, 0)?;
    let manager = ServiceManager { contexts, services: Mutex::default() };
    let manager = BnServiceManager::new_binder(manager);
    ProcessState::as_self().become_context_manager(manager.as_binder())?;
    Ok(ProcessState::join_thread_pool()?)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: buffersync-servicemanager SERVICE_CONTEXTS");
        return ExitCode::from(2);
    };
    match serve(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buffersync-servicemanager: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_contexts_are_read() {
        let read = contexts("# of x\n\na.b.IC/default  u:object_r:c:s0\nd u:object_r:e:s0\n");
        assert_eq!(read["a.b.IC/default"], "u:object_r:c:s0");
        assert_eq!(read.len(), 2);
    }
}
