/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A codec in C++17: every handle, mapping and grant is an object, so the end of its scope always
 * releases it.
 *
 *   codec INPUT_FD OUTPUT_FD SIZE
 *
 * For each number on standard input it holds both buffers at once, prints the number, and decodes
 * that frame from one buffer into the other.
 */

#include <android/buffer_sync.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "frame.h"

namespace {

class Error : public std::runtime_error {
  public:
    Error(const char* what, ABufferSyncStatus status)
        : std::runtime_error(std::string(what) + ": " + ABufferSync_getLastErrorMessage()),
          status(status) {}

    const ABufferSyncStatus status;
};

void check(ABufferSyncStatus status, const char* what) {
    if (status != ABUFFERSYNC_OK) {
        throw Error(what, status);
    }
}

struct Close {
    void operator()(ABufferSync* sync) const { ABufferSync_close(sync); }
    void operator()(ABufferSyncGroup* group) const { ABufferSyncGroup_close(group); }
};

/* Holds the buffers of a group until unlock(), or until the end of the scope. */
class Grant {
  public:
    Grant(ABufferSyncGroup* group, std::chrono::nanoseconds timeout) : group_(group) {
        check(ABufferSyncGroup_lock(group, timeout.count()), "lock");
    }

    ~Grant() {
        if (group_ != nullptr) {
            ABufferSyncGroup_unlock(group_, -1);
        }
    }

    Grant(const Grant&) = delete;
    Grant& operator=(const Grant&) = delete;

    /* Unlike the destructor, this reports an eviction. */
    void unlock() { check(ABufferSyncGroup_unlock(std::exchange(group_, nullptr), -1), "unlock"); }

  private:
    ABufferSyncGroup* group_;
};

class Group {
  public:
    Group(ABufferSync* sync, const char* name) {
        ABufferSyncGroup* group = nullptr;
        check(ABufferSync_openGroup(sync, name, 0, ABUFFERSYNC_GROUP_DEFAULT, &group), "openGroup");
        group_.reset(group);
    }

    void add(int fd, ABufferSyncAccess access) {
        check(ABufferSyncGroup_addDmaBuf(group_.get(), fd, access, nullptr), "add");
    }

    Grant lock(std::chrono::nanoseconds timeout) { return Grant(group_.get(), timeout); }

  private:
    std::unique_ptr<ABufferSyncGroup, Close> group_;
};

std::unique_ptr<ABufferSync, Close> connect() {
    ABufferSync* sync = nullptr;
    check(ABufferSync_open(&sync), "open");
    return std::unique_ptr<ABufferSync, Close>(sync);
}

class Mapping {
  public:
    Mapping(int fd, size_t size, int protection) : size_(size) {
        start_ = mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
        if (start_ == MAP_FAILED) {
            throw std::runtime_error("mmap");
        }
    }

    ~Mapping() { munmap(start_, size_); }

    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    /* The caller must have a grant. */
    uint32_t* words(const Grant&) const { return static_cast<uint32_t*>(start_); }

  private:
    void* start_;
    size_t size_;
};

void decode(uint32_t number, const uint32_t* input, uint32_t* output, size_t words) {
    for (size_t at = 0; at < words; at++) {
        if (input[at] != frame_word(number, at)) {
            throw std::runtime_error("frame " + std::to_string(number) + " is torn at word " +
                                     std::to_string(at));
        }
        output[at] = ~input[at];
    }
}

void run(int input_fd, int output_fd, size_t size) {
    auto sync = connect();
    Group group(sync.get(), "example/codec");
    group.add(input_fd, ABUFFERSYNC_ACCESS_READ);
    group.add(output_fd, ABUFFERSYNC_ACCESS_WRITE);
    Mapping input(input_fd, size, PROT_READ);
    Mapping output(output_fd, size, PROT_READ | PROT_WRITE);

    for (uint32_t number; std::cin >> number;) {
        Grant grant = group.lock(std::chrono::seconds(5));
        /* Before the frame is decoded, so a reader that comes too early is noticed. */
        std::cout << number << std::endl;
        decode(number, input.words(grant), output.words(grant), size / sizeof(uint32_t));
        grant.unlock();
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "codec INPUT_FD OUTPUT_FD SIZE\n";
        return 2;
    }
    try {
        run(std::atoi(argv[1]), std::atoi(argv[2]), std::strtoul(argv[3], nullptr, 10));
    } catch (const std::exception& error) {
        std::cerr << "codec: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
