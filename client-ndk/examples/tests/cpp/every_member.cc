/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * Uses every member of <android/buffer_sync.hpp>, so that a compiler sees all its templates. This is compiled in
 * several modes and not run.
 */

#include <android/buffer_sync.hpp>
#include <android/buffer_sync.hpp>

#include <type_traits>

namespace bs = android::buffersync;
using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<bs::Grant> && std::is_nothrow_move_assignable_v<bs::Grant>);
static_assert(!std::is_copy_constructible_v<bs::Group> && std::is_nothrow_move_assignable_v<bs::Group>);
static_assert(!std::is_copy_constructible_v<bs::Connection> && std::is_nothrow_move_assignable_v<bs::Connection>);
static_assert(!std::is_copy_constructible_v<bs::UniqueFd> && std::is_nothrow_move_assignable_v<bs::UniqueFd>);
static_assert(std::is_convertible_v<bs::UniqueFd, bs::Fences>);

bs::Status draw(bs::Group& group) {
    auto grant = group.lock(5s);
    if (!grant) return std::move(grant).status();
    return grant->unlock();
}

bs::Status descriptors() {
    bs::UniqueFd fd(3), other = std::move(fd);
    other.reset();
    other = bs::UniqueFd(other.release());
    return other && other.get() == static_cast<int>(other) ? bs::Status() : bs::Status::of(ABUFFERSYNC_ERROR_BAD_FD);
}

bs::Status grants(bs::Group& group, const std::vector<bs::BufferId>& ids) {
    const bs::Want want(ids[0], bs::Access::Write);
    bs::Result<bs::Grant> one = group.lock({want}, 5s);
    bs::Result<bs::Grant> two = group.lock({{ids[0], bs::Access::Read}, {ids[1], bs::Access::DmaRead}}, bs::kNoTimeout);
    bs::Result<bs::Grant> three = group.tryLock({&want, 1});
    bs::Result<bs::Started> four = group.startLock(std::vector<bs::Want>{want}, 1ms);
    if (!one || !two || !three.ok() || !four) return one.status();
    bs::Grant grant = *std::move(one);
    grant = std::move(two).value();
    grant = bs::Grant(group.get(), four->lock.release());
    bool granted = four->granted && grant && grant.id() != 0;
    bs::Status all[] = {
            grant.wait(),
            grant.cancel(),
            grant.grow({}, 1s),
            grant.tryGrow({want}),
            grant.startGrow({want}, 1s).status(),
            grant.downgrade(),
            grant.downgrade(ids),
            grant.info().status(),
            grant.bufferState(ids[0]).status(),
            grant.acquireFence().status(),
            grant.unlockBuffers({ids[0]}),
            grant.unlockBuffers({ids[0]}, bs::UniqueFd(3)),
            grant.unlockBuffers(ids, std::move(bs::Fences().add(ids[0], bs::UniqueFd(3)))),
            grant.unlock(bs::UniqueFd(3)),
            grant.unlock(bs::Fences()),
            grant.unlockAndLock({want}, 1s).status(),
    };
    const auto& by = all[0].inTheWay();
    bool known = by && by->owner == "camera" && by->group > 0 && by->lock > 0;
    return granted && known && all[1] == ABUFFERSYNC_OK && all[2] != ABUFFERSYNC_ERROR_ENDED ? all[3] : all[4];
}

bs::Status groups(const bs::Connection& connection) {
    bs::Options options;
    options.holdLimit = 1s;
    options.flags = ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT;
    bs::Result<bs::Group> opened = connection.openGroup("every member", options);
    if (!opened) return opened.status();
    bs::Group group, &second = *opened;
    group = std::move(second);
    int planes[4] = {3, -1, -1, -1};
    bs::Result<std::optional<bs::Event>> event = group.nextEvent();
    bs::Status all[] = {
            group.addDmaBuf(3, bs::Access::DmaWrite).status(),
            group.addNativeHandle(planes, 4, bs::Access::Read).status(),
            group.addHardwareBuffer(nullptr, bs::Access::Read).status(),
            group.remove(1),
            group.removeAll(),
            group.eventFd().status(),
            group.holdLimit().status(),
            group.groupName(event && *event ? (*event)->otherGroup : 0).status(),
            group.locks().status(),
    };
    group.close();
    return group ? all[0] : all[1];
}

bs::Status connections() {
    bs::Result<bs::Connection> opened = bs::Connection::open();
    bs::Connection connection, other = std::move(*bs::Connection::openInstance(nullptr, nullptr));
    connection = std::move(other);
    bs::Status all[] = {
            bs::Connection::waitForService().status(),
            bs::Connection::waitForService(1s).status(),
            connection.capability(ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS).status(),
            connection.dump(2),
    };
    return connection && connection.get() != opened->get() ? all[0] : groups(connection);
}

bs::Status mutexes(bs::Group& group) {
    bs::Mutex all(group), some(group, {{1, bs::Access::Read}}, 5s);
    {
        std::lock_guard guard(all);
        if (!all.owns()) return all.status();
    }
    std::unique_lock lock(all, 1s);
    std::unique_lock until(some, std::chrono::steady_clock::now() + 1s);
    std::scoped_lock both(all, some);
    return lock && until && all.try_lock() && all.grant() ? all.finish(bs::UniqueFd(3)) : some.finish();
}

#if defined(IGNORES_A_RESULT)
void ignores(bs::Grant& grant) {
    grant.unlock();
}
#endif
