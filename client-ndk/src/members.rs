// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffers that this process added to a group: the declared access, the granted access, and the
//! mapping. The service limits the buffers of a group, and with that this list.
//!
//! Only the checks of [`crate::Mapped`] use it. Between processes the service decides.

use std::sync::{Arc, Weak};

use crate::error::{Error, Result};
use crate::types::{Access, BufferId};

#[derive(Debug, Default)]
pub(crate) struct Members(Vec<Member>);

#[derive(Debug)]
struct Member {
    id: BufferId,
    declared: Access,
    held: Option<Access>,
    /// Alive as long as the mapping is.
    mapping: Weak<()>,
}

impl Members {
    /// Notes a buffer that was added, or a stronger access to it.
    pub fn add(&mut self, id: BufferId, access: Access) {
        match self.find(id) {
            Some(member) => {
                // The service refuses a mix of CPU and device before.
                member.declared = member.declared.stronger(access).unwrap_or(member.declared);
            }
            None => {
                let mapping = Weak::new();
                self.0.push(Member { id, declared: access, held: None, mapping });
            }
        }
    }

    pub fn remove(&mut self, id: BufferId) {
        self.0.retain(|member| member.id != id);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes that every buffer is held with its declared access.
    pub fn granted(&mut self) {
        self.0.iter_mut().for_each(|member| member.held = Some(member.declared));
    }

    /// Notes that no buffer is held.
    pub fn released(&mut self) {
        self.0.iter_mut().for_each(|member| member.held = None);
    }

    /// Tells if a buffer is held with at least this access and has this mapping.
    pub fn holds_mapped(&self, id: BufferId, access: Access, mapping: &Arc<()>) -> bool {
        self.0.iter().any(|member| {
            let held = member.held.is_some_and(|held| held.stronger(access) == Some(held));
            // The pointer also tells groups apart: each group has its own mappings.
            member.id == id && held && member.mapping.as_ptr() == Arc::as_ptr(mapping)
        })
    }

    /// Notes a mapping. It exists as long as the returned value.
    pub fn map(&mut self, id: BufferId) -> Result<Arc<()>> {
        let member = self.find(id).ok_or(Error::UnknownBuffer)?;
        if member.mapping.strong_count() > 0 {
            return Err(Error::AlreadyMapped);
        }
        let mapping = Arc::new(());
        member.mapping = Arc::downgrade(&mapping);
        Ok(mapping)
    }

    fn find(&mut self, id: BufferId) -> Option<&mut Member> {
        self.0.iter_mut().find(|member| member.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BufferId = BufferId(1);

    #[test]
    fn a_later_declared_access_is_held_with_the_next_grant() {
        let mut members = Members::default();
        members.add(ID, Access::Read);
        let mapping = members.map(ID).unwrap();
        let holds = |members: &Members, access| members.holds_mapped(ID, access, &mapping);
        assert!(!holds(&members, Access::Read));
        members.granted();
        members.add(ID, Access::Write);
        assert!(holds(&members, Access::Read) && !holds(&members, Access::Write));
        members.granted();
        assert!(holds(&members, Access::Read) && holds(&members, Access::Write));
        members.released();
        assert!(!holds(&members, Access::Read));
    }

    #[test]
    fn a_mapping_of_another_group_is_not_accepted() {
        let (mut one, mut other) = (Members::default(), Members::default());
        for members in [&mut one, &mut other] {
            members.add(ID, Access::Read);
            members.granted();
        }
        let (mapping, _others) = (one.map(ID).unwrap(), other.map(ID).unwrap());
        assert!(one.holds_mapped(ID, Access::Read, &mapping));
        assert!(!other.holds_mapped(ID, Access::Read, &mapping));
    }

    #[test]
    fn a_buffer_is_mapped_once_at_a_time() {
        let mut members = Members::default();
        assert_eq!(members.map(ID), Err(Error::UnknownBuffer));
        members.add(ID, Access::Read);
        let mapping = members.map(ID);
        assert!(mapping.is_ok());
        assert_eq!(members.map(ID), Err(Error::AlreadyMapped));
        drop(mapping);
        assert!(members.map(ID).is_ok());
    }
}
