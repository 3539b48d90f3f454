/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The calls that AOSP's camera and codec HALs would make: docs/integration.md names the places. Like a
 * HAL it has no exceptions. The HALs already have native handles and mappings, which the arguments
 * stand for here.
 *
 *   aosp_hals DMABUF_FD DMABUF_FD FRAMES
 */

#include <android/buffer_sync.hpp>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace {

namespace bs = android::buffersync;

constexpr size_t kSize = 4096;

/* The data and numFds of a native_handle_t. */
struct Handle {
    const int* fds;
    size_t count;
};

/* The locked buffers of one request. Each buffer has a reference; the last one to be returned unlocks. */
class FrameLock {
  public:
    /* Waits for other holders, for `timeout` at most. */
    static bs::Result<std::shared_ptr<FrameLock>> take(const bs::Connection& connection,
                                                       const std::vector<Handle>& outputs,
                                                       std::chrono::nanoseconds timeout) {
        auto group = connection.openGroup("camera/request");
        if (!group) {
            return group.status();
        }
        for (const Handle& output : outputs) {
            auto added = group->addNativeHandle(output.fds, output.count, bs::Access::Write);
            if (!added) {
                return added.status();
            }
        }
        auto grant = group->lock(timeout);
        if (!grant) {
            return grant.status();
        }
        return std::make_shared<FrameLock>(*std::move(group), *std::move(grant), outputs.size());
    }

    FrameLock(bs::Group group, bs::Grant grant, size_t buffers)
        : group_(std::move(group)), grant_(std::move(grant)), left_(buffers) {}

    /* One buffer is returned. The last one gives EVICTED if the request took too long: then it has failed. */
    bs::Status done() { return left_.fetch_sub(1) == 1 ? grant_.unlock() : bs::Status(); }

  private:
    /* In this order: the grant ends before its group. */
    bs::Group group_;
    bs::Grant grant_;
    std::atomic<size_t> left_;
};

/*
 * Cuttlefish's emulated camera: EmulatedRequestProcessor::AcquireBuffers() takes the lock of a request, before
 * gralloc's lock, and gives it to each GrallocSensorBuffer of the request. They call done() when they end. The
 * caller holds a mutex of the processor, so the wait must be short.
 */
struct SensorBuffer {
    std::shared_ptr<FrameLock> lock;
    uint8_t* pixels;
};

std::vector<SensorBuffer> AcquireBuffers(const bs::Connection& connection, const std::vector<Handle>& outputs,
                                         const std::vector<uint8_t*>& pixels, std::chrono::nanoseconds frame) {
    auto lock = FrameLock::take(connection, outputs, frame);
    std::vector<SensorBuffer> buffers;
    for (uint8_t* of_one : pixels) {
        if (lock) {
            buffers.push_back({*lock, of_one});
        }
    }
    return buffers;
}

/*
 * Codec2's allocators: each allocation has a group. C2GraphicAllocation::map() locks, unmap() unlocks. (Its fence is
 * an out-parameter, which AOSP leaves empty.) A linear block (C2DmaBufAllocator) is the same with one descriptor.
 */
class Block {
  public:
    Block(const bs::Connection& connection, const Handle& handle, bs::Access access) {
        auto group = connection.openGroup("codec2/block");
        status_ = group.status();
        if (group) {
            status_ = group->addNativeHandle(handle.fds, handle.count, access).status();
            group_ = *std::move(group);
        }
    }

    /* A HAL returns C2_TIMED_OUT for TIMED_OUT, and C2_CORRUPTED for other errors. */
    bs::Status map(std::chrono::nanoseconds timeout) {
        if (!status_) {
            return status_;
        }
        auto grant = group_.lock(timeout);
        if (grant) {
            grant_ = *std::move(grant);
        }
        return grant.status();
    }

    /* EVICTED means that the data that was read or written may be torn. */
    bs::Status unmap() { return grant_.unlock(); }

  private:
    bs::Status status_;
    bs::Group group_;
    bs::Grant grant_;
};

bool failed(const char* what) {
    std::fprintf(stderr, "aosp_hals: %s: %s\n", what, ABufferSync_getLastErrorMessage());
    return false;
}

bool run(const bs::Connection& connection, const int fds[2], uint8_t* const pixels[2], int frames) {
    const Handle video = {&fds[0], 1}, preview = {&fds[1], 1};
    Block input(connection, video, bs::Access::Read);
    for (int frame = 0; frame < frames; frame++) {
        auto buffers = AcquireBuffers(connection, {video, preview}, {pixels[0], pixels[1]}, std::chrono::seconds(5));
        if (buffers.size() != 2) {
            return failed("AcquireBuffers");
        }
        /* The buffer that is returned first does not unlock. */
        for (size_t of_request = 0; of_request < 2; of_request++) {
            if (of_request == 1 && input.map(std::chrono::nanoseconds(1)) != ABUFFERSYNC_ERROR_TIMED_OUT) {
                return failed("the encoder was granted a frame that the camera still has");
            }
            std::memset(buffers.back().pixels, frame, kSize);
            if (!buffers.back().lock->done()) {
                return failed("done");
            }
            buffers.pop_back();
        }
        if (!input.map(std::chrono::seconds(5))) {
            return failed("map");
        }
        for (size_t at = 0; at < kSize; at++) {
            if (pixels[0][at] != static_cast<uint8_t>(frame)) {
                return failed("the encoder reads another frame");
            }
        }
        if (!input.unmap()) {
            return failed("unmap");
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "aosp_hals DMABUF_FD DMABUF_FD FRAMES\n");
        return 2;
    }
    const int fds[2] = {std::atoi(argv[1]), std::atoi(argv[2])};
    uint8_t* pixels[2];
    for (size_t of : {0, 1}) {
        void* start = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fds[of], 0);
        if (start == MAP_FAILED) {
            std::perror("aosp_hals: mmap");
            return 1;
        }
        pixels[of] = static_cast<uint8_t*>(start);
    }
    auto connection = bs::Connection::open();
    bool done = connection ? run(*connection, fds, pixels, std::atoi(argv[3])) : failed("open");
    for (uint8_t* start : pixels) {
        munmap(start, kSize);
    }
    return done ? 0 : 1;
}
