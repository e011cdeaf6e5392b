//! Moving a host or a printer without losing history or cloud identity: `backup`, `restore`, `adopt`,
//! `rename`, `replace`.
//!
//! All but `backup` work on the database itself, so the service has to be stopped.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::{Globals, out, settings};
use crate::daemon::read_config;
use crate::job::store::{FILE_NAME, Store, StoreError};
use crate::json::json;
use crate::upstream::simplyprint::keep;

/// How long the database may take to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Arguments of `backup` and `restore`.
#[derive(Clone, Debug, clap::Args)]
pub struct FileArgs {
    /// The file
    file: PathBuf,
}

/// Arguments of `rename` and `replace`.
#[derive(Clone, Debug, clap::Args)]
pub struct PairArgs {
    /// The printer as it was called until now
    from: String,
    /// The printer as the configuration calls it from now on
    to: String,
}

pub(super) fn database(globals: &Globals) -> Result<PathBuf, Failure> {
    let config =
        read_config(globals.config_path()).map_err(|mistakes| Failure::usage(mistakes.to_string()))?;
    Ok(config.agent.state_dir.join(FILE_NAME))
}

fn open(path: &Path) -> Result<Store, Failure> {
    if !path.exists() {
        return Err(Failure::new(format!(
            "{}: there is no database yet; nothing to do.",
            path.display()
        )));
    }
    Store::open(path).map_err(not_open)
}

/// Why the database cannot be worked on.
pub(super) fn not_open(error: StoreError) -> Failure {
    match error {
        StoreError::InUse { .. } => {
            Failure::new("The service is running. Stop it first: systemctl stop layerd")
        }
        other => Failure::new(other.to_string()),
    }
}

pub(super) fn failed(error: StoreError) -> Failure {
    Failure::new(error.to_string())
}

pub(super) async fn closed<T>(store: Store, done: Result<T, Failure>) -> Result<T, Failure> {
    store.close(CLOSE_LIMIT).await.map_err(failed)?;
    done
}

fn said(globals: &Globals, message: &str) -> Exit {
    if globals.json {
        out::json(&json!({"outcome": "verified", "code": "ok", "message": message}));
    } else {
        out::line(message);
    }
    Exit::Good
}

/// `layerd backup FILE`: also while the service runs.
pub fn backup(globals: &Globals, args: &FileArgs) -> Done {
    let file = &args.file;
    if file.exists() {
        return Err(Failure::usage(format!(
            "{}: exists already; name a new file.",
            file.display()
        )));
    }
    let socket = settings::socket(globals.config.as_deref())?;
    block_on(async {
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            from_daemon(globals, file).await?;
        } else {
            let store = open(&database(globals)?)?;
            let copied = store.copy_to(file).await.map_err(failed);
            closed(store, copied).await?;
        }
        private(file)?;
        Ok(said(
            globals,
            &format!(
                "{}: history, files index and cloud identities. It holds credentials: keep it as you keep a key. \
                 The configuration is not in it.",
                file.display()
            ),
        ))
    })?
}

async fn from_daemon(globals: &Globals, file: &Path) -> Result<(), Failure> {
    let client = globals.client()?;
    let wrong = |e: std::io::Error| Failure::new(format!("{}: cannot be written: {e}.", file.display()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let target = options.open(file).map_err(wrong)?;
    let mut target = tokio::fs::File::from_std(target);
    let mut answer = client.open("agent/Backup").await?;
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|e| Failure::new(format!("The copy broke off: {e}.")))?
    {
        target.write_all(&chunk).await.map_err(wrong)?;
    }
    target.sync_all().await.map_err(wrong)
}

fn private(file: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| Failure::new(format!("{}: {e}.", file.display())))
}

/// `layerd restore FILE`: the database of a backup takes the place of this one, which is kept.
pub fn restore(globals: &Globals, args: &FileArgs) -> Done {
    let target = database(globals)?;
    let dir = target.parent().unwrap_or(Path::new("."));
    let wrong = |e: std::io::Error| Failure::new(format!("{}: {e}.", target.display()));
    if !args.file.is_file() {
        return Err(Failure::usage(format!("{}: is not a file.", args.file.display())));
    }
    std::fs::create_dir_all(dir).map_err(wrong)?;
    block_on(async {
        // Looked at as a copy first, so that a wrong file changes nothing.
        let copy = dir.join(format!("restore-{}.db", uuid::Uuid::new_v4().simple()));
        std::fs::copy(&args.file, &copy).map_err(wrong)?;
        private(&copy)?;
        let opened = Store::open(&copy).map_err(|e| Failure::usage(e.to_string()));
        let sound = match opened {
            Ok(store) => {
                let aside = store.set_aside().await.map_err(failed);
                closed(store, aside).await.and_then(|aside| match aside {
                    None => Ok(()),
                    Some(moved) => {
                        let _ = std::fs::remove_file(moved);
                        Err(Failure::usage(format!(
                            "{}: is no backup of layerd.",
                            args.file.display()
                        )))
                    }
                })
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = sound {
            forget(&copy);
            return Err(failure);
        }
        let mut kept = String::new();
        if target.exists() {
            // Nobody else may have it open; then it steps aside.
            let store = open(&target).inspect_err(|_| forget(&copy))?;
            closed(store, Ok(())).await?;
            let aside = dir.join(format!(
                "{FILE_NAME}.before-restore-{}",
                jiff::Timestamp::now().as_second()
            ));
            std::fs::rename(&target, &aside).map_err(wrong)?;
            kept = format!(" The one before is kept as {}.", aside.display());
        }
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", target.display()));
        }
        to_owner_of(dir, &copy).map_err(wrong)?;
        std::fs::rename(&copy, &target).map_err(wrong)?;
        forget(&copy);
        let moved = "If this is another machine than the one of the backup, and that one is gone for good, run \"layerd adopt\".";
        Ok(said(
            globals,
            &format!("{}: restored.{kept} {moved}", target.display()),
        ))
    })?
}

/// `sudo` makes files that are root's; the service could not open them.
fn to_owner_of(dir: &Path, file: &Path) -> std::io::Result<()> {
    let (owner, made) = (std::fs::metadata(dir)?, std::fs::metadata(file)?);
    if owner.uid() != made.uid() {
        std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn forget(copy: &Path) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", copy.display()));
    }
}

/// `layerd adopt`: the identities of a database that comes from another machine are this one's now.
pub fn adopt(globals: &Globals) -> Done {
    let store = open(&database(globals)?)?;
    block_on(async {
        let adopted = keep::adopt(&store).await.map_err(failed);
        let adopted = closed(store, adopted).await?;
        let message = if adopted {
            "The printers of this database are this machine's now. The other machine must not run with the same \
             database: it would drive the same printers in the cloud. Start the service."
        } else {
            "The printers of this database are this machine's already."
        };
        Ok(said(globals, message))
    })?
}

/// `layerd rename FROM TO`: history and identity follow a new name in the configuration.
pub fn rename(globals: &Globals, args: &PairArgs) -> Done {
    let store = open(&database(globals)?)?;
    block_on(async {
        let renamed = store.rename_printer(&args.from, &args.to).await.map_err(failed);
        let renamed = closed(store, renamed).await?;
        if !renamed {
            return Err(Failure::usage(format!(
                "There is no printer \"{}\" in the database, or \"{}\" is known there already. \
                 (To hand the cloud identity of one known printer to another one: layerd replace)",
                out::clean(&args.from),
                out::clean(&args.to)
            )));
        }
        let to = out::clean(&args.to);
        let message = format!(
            "History and cloud identity belong to \"{to}\" now. The configuration has to say [printer.{to}]."
        );
        Ok(said(globals, &message))
    })?
}

/// `layerd replace FROM TO`: another machine stands where one stood; the cloud sees the same printer, the
/// history stays with the old one.
pub fn replace(globals: &Globals, args: &PairArgs) -> Done {
    let config =
        read_config(globals.config_path()).map_err(|mistakes| Failure::usage(mistakes.to_string()))?;
    let Some(kind) = config
        .printers
        .iter()
        .find(|p| p.name == args.to)
        .map(|p| p.kind.clone())
    else {
        return Err(Failure::usage(format!(
            "The configuration has no [printer.{}]. Write it first.",
            out::clean(&args.to)
        )));
    };
    let store = open(&database(globals)?)?;
    block_on(async {
        let moved = store
            .upstream_move(&args.from, &args.to, &kind)
            .await
            .map_err(failed);
        let moved = closed(store, moved).await?;
        if !moved {
            return Err(Failure::usage(format!(
                "\"{}\" has no cloud identity, or \"{}\" has one already.",
                out::clean(&args.from),
                out::clean(&args.to)
            )));
        }
        let (from, to) = (out::clean(&args.from), out::clean(&args.to));
        Ok(said(
            globals,
            &format!(
                "In the cloud \"{to}\" is now what \"{from}\" was. The history of \"{from}\" stays under its name."
            ),
        ))
    })?
}
