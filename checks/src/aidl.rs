// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask aidl check | update | freeze`: the interface as it was promised.
//!
//! `aidl/aidl_api/vendor.buffersync/current` is a snapshot of the interface without its comments.
//! Whoever changes the interface updates the snapshot in the same commit, so that a review sees the
//! change. A frozen version has a snapshot that never changes, and a hash. A later version may only
//! add to it.
//!
//! AOSP's compiler writes the snapshots, compares them and generates code here, as it does in
//! Android's tree for `m vendor.buffersync-update-api` and `-freeze-api`. Folders, hashes and the
//! order of the checks are those of system/tools/aidl/build/aidl_api.go. Where the compiler can't
//! be had, hashes are checked and the rest is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use buffersync_testbed::checkout::{cache, root, target};
use buffersync_testbed::command::{files, made};
use buffersync_testbed::provision::{self, Compiler};
use buffersync_testbed::Failure;

const NAME: &str = "vendor.buffersync";
/// The folder of the interface's files, below `aidl/`.
pub const PACKAGE: &str = "vendor/buffersync";
/// The folder of its imports, below `aidl/`.
pub const IMPORTS: &str = "imports";
/// The backends of AOSP's compiler.
const LANGUAGES: [&str; 4] = ["cpp", "java", "ndk", "rust"];

/// `cargo xtask aidl -- check|update|freeze`.
pub fn run(command: &[String]) -> Result<i32, Failure> {
    let tree = Tree::of_project();
    match command {
        [verb] if verb == "check" => check()?,
        [verb] if verb == "update" => tree.update(compiler()?)?,
        [verb] if verb == "freeze" => {
            let version = tree.freeze(compiler()?)?;
            println!(
                "version {version} is frozen; aidl/Android.bp has to say so (versions_with_info, \
                 frozen), and aidl/build.rs (VERSION, HASH)"
            );
        }
        _ => return Err(Failure("aidl takes check, update or freeze".into())),
    }
    println!("aidl: ok");
    Ok(0)
}

/// Everything that can be checked here.
pub fn check() -> Result<(), Failure> {
    let tree = Tree::of_project();
    match compiler() {
        Ok(compiler) => {
            tree.check(compiler)?;
            tree.generate_all(compiler)
        }
        Err(why) => {
            println!("   only the hashes of frozen versions are checked: {why}");
            tree.check_hashes()
        }
    }
}

/// AOSP's compiler. A process looks for it once.
pub fn compiler() -> Result<&'static Compiler, Failure> {
    static FOUND: OnceLock<Result<Compiler, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        provision::aidl(&cache()).map_err(|failure| {
            let why = failure.0.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("AOSP's AIDL compiler can't be had ({why})")
        })
    });
    found.as_ref().map_err(|why| Failure(why.clone()))
}

/// Has the compiler write `language` for all files of a package to `out`. `above` is the folder that
/// the package's folder is relative to, `arguments` are further ones of the compiler.
pub fn generate(
    compiler: &Compiler,
    language: &str,
    (above, package): (&Path, &str),
    out: &Path,
    arguments: &[String],
) -> Result<(), Failure> {
    let mut aidl = call(compiler);
    aidl.arg(format!("--lang={language}")).args(["--structured", "--omit_invocation"]);
    if matches!(language, "cpp" | "ndk") {
        aidl.arg("-h").arg(out.join("include"));
    }
    aidl.args(arguments).arg("-I").arg(above).arg("-o").arg(out);
    aidl.args(files(&above.join(package), "aidl")?);
    succeed(aidl)
}

/// The folder that has the interface and its snapshots.
pub struct Tree {
    aidl: PathBuf,
    /// For what the compiler writes.
    work: PathBuf,
}

impl Tree {
    pub fn of_project() -> Self {
        Self { aidl: root().join("aidl"), work: target().join("aidl") }
    }

    fn snapshot(&self, version: impl std::fmt::Display) -> PathBuf {
        self.aidl.join("aidl_api").join(NAME).join(version.to_string())
    }

    /// Fails if a frozen version was changed.
    fn check_hashes(&self) -> Result<(), Failure> {
        for version in self.frozen()? {
            let folder = self.snapshot(version);
            if last_hash(&folder)? != hash_of(&folder, version)? {
                return Err(Failure(format!("version {version} is frozen and was changed")));
            }
        }
        Ok(())
    }

    /// Fails if the interface differs from its snapshot, or a version is not compatible with the one before.
    fn check(&self, compiler: &Compiler) -> Result<(), Failure> {
        self.check_hashes()?;
        let current = self.snapshot("current");
        compare(compiler, "equal", &current, &self.dump(compiler)?).map_err(|why| {
            Failure(format!(
                "the interface is not its snapshot; run `cargo xtask aidl -- update` if that is \
                 meant: {why}"
            ))
        })?;
        let mut versions: Vec<PathBuf> =
            self.frozen()?.into_iter().map(|version| self.snapshot(version)).collect();
        versions.push(current);
        versions.windows(2).try_for_each(|two| compare(compiler, "compatible", &two[0], &two[1]))
    }

    /// Fails if a backend refuses a file.
    fn generate_all(&self, compiler: &Compiler) -> Result<(), Failure> {
        let arguments = self.version_arguments(compiler)?;
        for language in LANGUAGES {
            let out = self.empty(language)?;
            generate(compiler, language, (&self.aidl, PACKAGE), &out, &arguments)?;
        }
        Ok(())
    }

    /// The compiler's arguments that say which version the interface is: the last frozen one, or
    /// the next one, which can still change.
    pub fn version_arguments(&self, compiler: &Compiler) -> Result<[String; 2], Failure> {
        let (mut version, mut hash) = (1, "notfrozen".to_string());
        if let Some(last) = self.frozen()?.last() {
            let folder = self.snapshot(last);
            version = last + 1;
            if compare(compiler, "equal", &folder, &self.dump(compiler)?).is_ok() {
                (version, hash) = (*last, last_hash(&folder)?);
            }
        }
        Ok([format!("--version={version}"), format!("--hash={hash}")])
    }

    /// Makes the snapshot what the interface is, unless the last frozen version forbids it.
    fn update(&self, compiler: &Compiler) -> Result<(), Failure> {
        let dump = self.dump(compiler)?;
        if let Some(last) = self.frozen()?.last() {
            compare(compiler, "compatible", &self.snapshot(last), &dump)?;
        }
        copy(&dump, &self.snapshot("current"))
    }

    /// Makes the interface a version. Returns which.
    fn freeze(&self, compiler: &Compiler) -> Result<u32, Failure> {
        self.check(compiler)?;
        let dump = self.dump(compiler)?;
        let last = self.frozen()?.last().copied();
        if let Some(last) = last {
            if compare(compiler, "equal", &self.snapshot(last), &dump).is_ok() {
                return Err(Failure(format!("nothing has changed since version {last}")));
            }
        }
        let version = last.map_or(1, |last| last + 1);
        let folder = self.snapshot(version);
        copy(&dump, &folder)?;
        let hash = hash_of(&folder, version)?;
        made(fs::write(folder.join(".hash"), hash + "\n"), ".hash")?;
        Ok(version)
    }

    /// Has the compiler write a snapshot of the interface. Returns where.
    fn dump(&self, compiler: &Compiler) -> Result<PathBuf, Failure> {
        let out = self.empty("dump")?;
        let mut aidl = call(compiler);
        aidl.args(["--dumpapi", "--structured", "-I"]).arg(&self.aidl);
        aidl.arg("-o").arg(&out).args(files(&self.aidl.join(PACKAGE), "aidl")?);
        succeed(aidl)?;
        Ok(out)
    }

    fn empty(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.work.join(name);
        let _ = fs::remove_dir_all(&folder);
        made(fs::create_dir_all(&folder), name)?;
        Ok(folder)
    }

    /// The frozen versions, in their order.
    fn frozen(&self) -> Result<Vec<u32>, Failure> {
        let snapshots = self.aidl.join("aidl_api").join(NAME);
        let entries = made(fs::read_dir(snapshots), "aidl_api")?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut versions: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }
}

/// A call of the compiler, with what all calls have in common.
fn call(compiler: &Compiler) -> Command {
    let mut aidl = compiler.command();
    aidl.arg("--stability=vintf").arg("-I").arg(root().join("aidl").join(IMPORTS));
    aidl
}

fn succeed(mut aidl: Command) -> Result<(), Failure> {
    let output = made(aidl.output(), "aidl")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure(format!("aidl: {}", said.trim())))
}

/// Fails if a snapshot is not equal to (or compatible with) an older one. Comments do not count.
fn compare(compiler: &Compiler, level: &str, old: &Path, new: &Path) -> Result<(), Failure> {
    let mut aidl = call(compiler);
    aidl.arg(format!("--checkapi={level}")).arg(old).arg(new);
    succeed(aidl)
}

/// Makes one snapshot of another.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(to);
    made(fs::create_dir_all(to.join(PACKAGE)), "aidl_api")?;
    for file in files(&from.join(PACKAGE), "aidl")? {
        let name = file.file_name().unwrap_or_default();
        made(fs::copy(&file, to.join(PACKAGE).join(name)), "aidl_api")?;
    }
    Ok(())
}

/// The hash that a version was frozen with.
fn last_hash(folder: &Path) -> Result<String, Failure> {
    let text = made(fs::read_to_string(folder.join(".hash")), ".hash")?;
    Ok(text.lines().last().unwrap_or_default().to_string())
}

/// The hash by AOSP's recipe: over the names and contents of all files of a version, and the number of the
/// version before. For the first version `latest-version` stands for that number.
fn hash_of(folder: &Path, version: u32) -> Result<String, Failure> {
    let before = if version > 1 { (version - 1).to_string() } else { "latest-version".into() };
    let recipe = format!(
        "(find ./ -name '*.aidl' -print0 | LC_ALL=C sort -z | xargs -0 sha1sum && echo {before}) | \
         sha1sum | cut -d' ' -f1"
    );
    let output = Command::new("sh").args(["-c", &recipe]).current_dir(folder).output();
    let output = made(output, "sha1sum")?;
    let hash = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if hash.len() == 40 {
        Ok(hash)
    } else {
        Err(Failure("sha1sum is needed (coreutils)".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// An interface of its own, with an empty snapshot.
    fn tree(name: &str) -> (Folder, Tree) {
        let folder = format!("buffersync-aidl-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let tree = Tree { aidl: folder.join("aidl"), work: folder.join("work") };
        for made in [tree.aidl.join(PACKAGE), tree.snapshot("current").join(PACKAGE)] {
            fs::create_dir_all(made).unwrap();
        }
        (Folder(folder), tree)
    }

    fn put(tree: &Tree, body: &str) {
        let text =
            format!("package vendor.buffersync;\n@VintfStability interface IX {{ {body} }}\n");
        fs::write(tree.aidl.join(PACKAGE).join("IX.aidl"), text).unwrap();
    }

    /// The text of the snapshot of `IX`.
    fn snapshot(tree: &Tree, version: &str) -> String {
        fs::read_to_string(tree.snapshot(version).join(PACKAGE).join("IX.aidl")).unwrap()
    }

    /// AOSP's compiler; a test without it says so and does nothing.
    fn needed() -> Option<&'static Compiler> {
        compiler().map_err(|why| println!("skipped: {why}")).ok()
    }

    #[test]
    fn a_change_has_to_be_taken_over_and_words_are_no_change() {
        let Some(compiler) = needed() else { return };
        let (_folder, tree) = tree("update");
        put(&tree, "/** Says. */ void f();");
        tree.update(compiler).unwrap();
        tree.check(compiler).unwrap();
        let before = snapshot(&tree, "current");
        put(&tree, "/** Says it in other words. */ void f();");
        tree.check(compiler).unwrap();
        tree.update(compiler).unwrap();
        assert_eq!(snapshot(&tree, "current"), before);

        put(&tree, "void f(int x);");
        let why = tree.check(compiler).unwrap_err().0;
        assert!(why.contains("the interface is not its snapshot"), "{why}");
        assert!(tree.freeze(compiler).is_err(), "a change that nobody took over was frozen");
        tree.update(compiler).unwrap();
        tree.check(compiler).unwrap();
        put(&tree, "void f(int x)");
        assert!(tree.update(compiler).is_err(), "it is no AIDL");
    }

    #[test]
    fn a_version_may_only_add_and_never_changes() {
        let Some(compiler) = needed() else { return };
        let (_folder, tree) = tree("freeze");
        put(&tree, "void f();");
        tree.update(compiler).unwrap();
        assert_eq!(tree.freeze(compiler).unwrap(), 1);
        let why = tree.freeze(compiler).unwrap_err().0;
        assert_eq!(why, "nothing has changed since version 1");
        put(&tree, "/** Words. */ void f();");
        assert!(tree.freeze(compiler).is_err(), "words are no change");
        assert_eq!(tree.frozen().unwrap(), [1]);

        put(&tree, "void f(); int g(int x);");
        tree.update(compiler).unwrap();
        assert_eq!(tree.freeze(compiler).unwrap(), 2);
        tree.check(compiler).unwrap();
        let before = snapshot(&tree, "current");
        put(&tree, "int g(int x); void f();");
        assert!(tree.update(compiler).is_err(), "methods have numbers");
        assert_eq!(snapshot(&tree, "current"), before, "a refused update changed the snapshot");

        put(&tree, "void f(); int g(int x); void h();");
        tree.update(compiler).unwrap();
        tree.check(compiler).unwrap();
        tree.generate_all(compiler).unwrap();
        let first = tree.snapshot(1).join(PACKAGE).join("IX.aidl");
        fs::write(first, snapshot(&tree, "1").replace("f()", "e()")).unwrap();
        let why = tree.check(compiler).unwrap_err().0;
        assert_eq!(why, "version 1 is frozen and was changed");
    }

    /// A change that was put into a frozen version together with a new hash.
    #[test]
    fn each_version_has_to_follow_the_one_before() {
        let Some(compiler) = needed() else { return };
        let (_folder, tree) = tree("follow");
        for body in ["void f();", "void f(); void g();"] {
            put(&tree, body);
            tree.update(compiler).unwrap();
            tree.freeze(compiler).unwrap();
        }
        let first = tree.snapshot(1);
        let text = snapshot(&tree, "1").replace("f()", "e()");
        fs::write(first.join(PACKAGE).join("IX.aidl"), text).unwrap();
        fs::write(first.join(".hash"), hash_of(&first, 1).unwrap()).unwrap();
        tree.check_hashes().unwrap();
        assert!(tree.check(compiler).is_err());
    }

    #[test]
    fn a_snapshot_that_aosps_compiler_wrote_is_accepted() {
        let Some(compiler) = needed() else { return };
        let (_folder, tree) = tree("theirs");
        put(&tree, "const int X = 1; void f(); @nullable String g();");
        let mut aidl = compiler.command();
        aidl.args(["--dumpapi", "--structured", "--stability", "vintf", "--out"]);
        aidl.arg(tree.snapshot("current")).arg("-I").arg(&tree.aidl);
        let status = aidl.arg(tree.aidl.join(PACKAGE).join("IX.aidl")).status().unwrap();
        assert!(status.success());
        tree.check(compiler).unwrap();
        let theirs = snapshot(&tree, "current");
        tree.update(compiler).unwrap();
        assert_eq!(snapshot(&tree, "current"), theirs);
    }

    #[test]
    fn a_file_that_a_backend_does_not_take_is_said() {
        let Some(compiler) = needed() else { return };
        let (_folder, tree) = tree("backends");
        put(&tree, "void f();");
        tree.generate_all(compiler).unwrap();
        for language in LANGUAGES {
            assert!(fs::read_dir(tree.work.join(language)).unwrap().next().is_some(), "{language}");
        }
        put(&tree, "void f(in FileDescriptor d);");
        assert!(tree.generate_all(compiler).is_err());
    }

    #[test]
    fn bindings_say_the_frozen_version_or_the_next_one() {
        let Some(compiler) = needed() else { return };
        let (_folder, tree) = tree("version");
        let bindings = |body: &str| {
            put(&tree, body);
            tree.generate_all(compiler).unwrap();
            fs::read_to_string(tree.work.join("rust").join(PACKAGE).join("IX.rs")).unwrap()
        };
        let says = |text: &str, version: u32, hash: &str| {
            text.contains(&format!("VERSION: i32 = {version};"))
                && text.contains(&format!("HASH: &str = \"{hash}\";"))
        };
        assert!(says(&bindings("void f();"), 1, "notfrozen"));
        tree.update(compiler).unwrap();
        tree.freeze(compiler).unwrap();
        let hash = last_hash(&tree.snapshot(1)).unwrap();
        assert!(says(&bindings("void f();"), 1, &hash));
        assert!(says(&bindings("void f(); void g();"), 2, "notfrozen"));
    }

    /// The sums were made with `hash_gen.sh` of system/tools/aidl.
    #[test]
    fn a_hash_has_the_number_of_the_version_before() {
        let (_folder, tree) = tree("hash");
        put(&tree, "void f();");
        for (version, hash) in [
            (1, "696283c609790ef777f0f440afe9e5cb4904941b"),
            (2, "a3ce1fdc25f8efa988d1834716bcc8443ee44aa5"),
            (3, "d05ad9316e23b0b511695334e6702fde9512037d"),
        ] {
            assert_eq!(hash_of(&tree.aidl, version).unwrap(), hash, "version {version}");
        }
    }

    #[test]
    fn a_changed_version_is_noticed_without_the_compiler() {
        let (_folder, tree) = tree("changed");
        let second = tree.snapshot(2);
        fs::create_dir_all(&second).unwrap();
        fs::write(second.join("IX.aidl"), "interface IX {}").unwrap();
        fs::write(second.join(".hash"), hash_of(&second, 2).unwrap() + "\n").unwrap();
        tree.check_hashes().unwrap();
        fs::write(second.join("IX.aidl"), "interface IX { }").unwrap();
        assert_eq!(tree.check_hashes().unwrap_err().0, "version 2 is frozen and was changed");
    }

    #[test]
    fn the_project_is_its_snapshot_every_backend_takes_it_and_cargo_builds_the_same_version() {
        let tree = Tree::of_project();
        let cargo = fs::read_to_string(tree.aidl.join("build.rs")).unwrap();
        // Without the compiler, the hashes of frozen versions are checked.
        let Some(compiler) = needed() else { return check().unwrap() };
        check().unwrap();
        let arguments = tree.version_arguments(compiler).unwrap();
        let said = format!(
            "const VERSION: i32 = {};\nconst HASH: &str = {:?};",
            arguments[0].trim_start_matches("--version="),
            arguments[1].trim_start_matches("--hash="),
        );
        assert!(cargo.contains(&said), "aidl/build.rs does not say {said}");
    }
}
