// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffers that this process added to a group: the declared access, the access that the main lock
//! asks for and has, and the mapping. The service limits the buffers of a group, and with that this list.
//!
//! Only the checks of [`crate::Mapped`] use it, and a mapping needs a grant of the main lock. Between processes
//! the service decides.

use std::sync::{Arc, Weak};

use crate::error::{Error, Result};
use crate::types::{Access, BufferId};

#[derive(Debug, Default)]
pub(crate) struct Members(Vec<Member>);

#[derive(Debug)]
struct Member {
    id: BufferId,
    declared: Access,
    /// The main lock has it when it is granted.
    asked: Option<Access>,
    /// The main lock has it.
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
                self.0.push(Member { id, declared: access, asked: None, held: None, mapping });
            }
        }
    }

    pub fn remove(&mut self, id: BufferId) {
        self.0.retain(|member| member.id != id);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes what the main lock asks for, beside what it has: these buffers, or all of them with their
    /// declared access.
    pub fn ask(&mut self, wants: &[(BufferId, Access)]) {
        for member in &mut self.0 {
            member.asked = member.held;
            if wants.is_empty() {
                member.want(member.declared);
            }
            let id = member.id;
            let named = wants.iter().filter(|(wanted, _)| *wanted == id);
            named.for_each(|(_, access)| member.want(*access));
        }
    }

    /// Notes that the main lock has what it asked for.
    pub fn granted(&mut self) {
        self.0.iter_mut().for_each(|member| member.held = member.asked);
    }

    /// Notes that the main lock has let these buffers go; none: all of them.
    pub fn let_go(&mut self, buffers: &[BufferId]) {
        self.change(buffers, |_| None);
    }

    /// Notes that the main lock shares these buffers; none: all of them.
    pub fn share(&mut self, buffers: &[BufferId]) {
        self.change(buffers, |held| held.map(Access::shared));
    }

    fn change(&mut self, buffers: &[BufferId], to: impl Fn(Option<Access>) -> Option<Access>) {
        let named = |id: &BufferId| buffers.is_empty() || buffers.contains(id);
        for member in self.0.iter_mut().filter(|member| named(&member.id)) {
            member.held = to(member.held);
            member.asked = member.held;
        }
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

impl Member {
    fn want(&mut self, access: Access) {
        // The service refuses a mix of CPU and device before.
        self.asked = Some(self.asked.and_then(|asked| asked.stronger(access)).unwrap_or(access));
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
        members.ask(&[]);
        // Added while the lock waits: it does not ask for this.
        members.add(ID, Access::Write);
        members.granted();
        assert!(holds(&members, Access::Read) && !holds(&members, Access::Write));
        members.ask(&[]);
        members.granted();
        assert!(holds(&members, Access::Read) && holds(&members, Access::Write));
        members.share(&[ID]);
        assert!(holds(&members, Access::Read) && !holds(&members, Access::Write));
        members.let_go(&[]);
        assert!(!holds(&members, Access::Read));
    }

    #[test]
    fn a_growth_of_one_buffer_holds_that_one_and_keeps_the_rest() {
        let other = BufferId(2);
        let mut members = Members::default();
        members.add(ID, Access::Read);
        members.ask(&[]);
        members.granted();
        members.add(other, Access::Read);
        members.add(ID, Access::Write);
        let (one, two) = (members.map(ID).unwrap(), members.map(other).unwrap());
        members.ask(&[(other, Access::Write)]);
        members.granted();
        assert!(members.holds_mapped(other, Access::Write, &two));
        assert!(members.holds_mapped(ID, Access::Read, &one));
        assert!(!members.holds_mapped(ID, Access::Write, &one));
        members.let_go(&[other]);
        assert!(!members.holds_mapped(other, Access::Read, &two));
        assert!(members.holds_mapped(ID, Access::Read, &one));
    }

    #[test]
    fn a_mapping_of_another_group_is_not_accepted() {
        let (mut one, mut other) = (Members::default(), Members::default());
        for members in [&mut one, &mut other] {
            members.add(ID, Access::Read);
            members.ask(&[]);
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
