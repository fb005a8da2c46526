//! The supervisor's side of a launch: starts the stage, tells it what to build, and waits until all of it stands.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use crate::control_group::ControlGroup;
use crate::error::LaunchError;
use crate::network;
use crate::placeholder::Placeholders;
use crate::probe;
use crate::sandbox::{Control, Ends, LaunchReport, Listeners, Sandbox, Shared, State};
use crate::spec::{Spec, Stream};
use crate::stage::Stage;
use crate::wire::{self, Event, Order};

/// Builds a sandbox. The command does not run yet.
///
/// Call it from a thread that lives as long as the sandbox (best the main thread): the kernel ties the stage's life to the thread that
/// made it.
pub fn launch(spec: Spec) -> Result<Sandbox, LaunchError> {
    launch_on(None, spec)
}

/// As [`launch`], in a stage that was split off before; without one, it is started now.
pub fn launch_on(stage: Option<Stage>, mut spec: Spec) -> Result<Sandbox, LaunchError> {
    validate(&spec)?;
    let found_outside = find_program(&spec);
    let mut trees = std::iter::once(spec.workspace)
        .chain(spec.extra_trees)
        .collect::<Vec<_>>();
    let placeholders = Placeholders::make(&mut trees, spec.placeholder_journal.clone())?;
    let shared_trees = trees.clone();
    spec.extra_trees = trees.split_off(1);
    spec.workspace = trees.remove(0);

    let ports = spec.ports.clone();
    let loopback_ports = spec.loopback_ports.clone();
    let streams = [spec.streams.input, spec.streams.output, spec.streams.error];
    let (ends, theirs) = make_pipes(streams).map_err(LaunchError::system("making pipes"))?;
    // From here on every early return drops the stage, which ends it.
    let Stage {
        channel: ours,
        process,
    } = match stage {
        Some(stage) => stage,
        None => start_stage(spec.stage_executable.as_deref())?,
    };

    let control_group = ControlGroup::create();
    let joinable = match &control_group {
        Some(group) => group
            .folder()
            .and_then(|folder| Ok(vec![folder, group.processes()?.into()]))
            .map_err(LaunchError::system("opening the control group"))?,
        None => Vec::new(),
    };
    let mut sent: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    sent.extend(joinable.iter().map(AsFd::as_fd));
    let kept = match &spec.mediation {
        Some(mediation) => Some(
            open_folder(&mediation.folder)
                .map_err(LaunchError::system("opening the folder of what is kept"))?,
        ),
        None => None,
    };
    sent.extend(kept.iter().map(AsFd::as_fd));
    let questions = match &kept {
        Some(_) => {
            Some(UnixStream::pair().map_err(LaunchError::system("making a pair of sockets"))?)
        }
        None => None,
    };
    let (questions, asking) = questions.unzip();
    sent.extend(asking.iter().map(AsFd::as_fd));
    let order = Order::Build {
        spec: Box::new(spec),
        control_group: control_group.is_some(),
    };
    wire::send(&ours, &order, &sent).map_err(LaunchError::system("sending the specification"))?;
    drop((theirs, asking));

    let built = await_ready(&ours, &ports, &loopback_ports)?;
    let wake = Shared::new_wake().map_err(LaunchError::system("making an event descriptor"))?;
    let control = Control(Arc::new(Shared {
        stream: ours,
        init: built.init,
        ordering: Mutex::new(()),
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
        wake,
        trees: shared_trees,
        control_group,
    }));
    let reader = {
        let control = control.clone();
        std::thread::Builder::new()
            .name("sandbox-events".into())
            .spawn(move || control.read_events())
            .map_err(LaunchError::system("starting a thread"))?
    };
    Ok(Sandbox {
        listeners: Some(built.listeners),
        questions,
        ends: Some(Ends {
            terminal: built.terminal,
            ..ends
        }),
        control,
        report: built.report,
        stage: process,
        placeholders,
        found_outside,
        reader: Some(reader),
    })
}

/// What the inside hands over when it stands.
struct Built {
    init: OwnedFd,
    listeners: Listeners,
    terminal: Option<OwnedFd>,
    report: LaunchReport,
}

fn await_ready(
    stream: &UnixStream,
    ports: &[u16],
    loopback_ports: &[u16],
) -> Result<Built, LaunchError> {
    const WHILE: &str = "being built";
    let mut listeners = None;
    loop {
        let (event, descriptors) = wire::receive::<Event>(stream)
            .map_err(LaunchError::system("hearing from the sandbox"))?
            .ok_or(LaunchError::Lost(WHILE))?;
        match event {
            Event::Listening => {
                listeners = Some(
                    network::parse_sockets(descriptors, ports, loopback_ports)
                        .ok_or(LaunchError::Lost(WHILE))?,
                );
            }
            Event::Ready(report) => {
                let mut descriptors = descriptors.into_iter();
                let (Some(listeners), Some(init)) = (listeners, descriptors.next()) else {
                    return Err(LaunchError::Lost(WHILE));
                };
                return Ok(Built {
                    init,
                    listeners,
                    terminal: descriptors.next(),
                    report,
                });
            }
            Event::Failed(failure) => return Err(probe::explain(failure)),
            _ => return Err(LaunchError::Lost(WHILE)),
        }
    }
}

fn validate(spec: &Spec) -> Result<(), LaunchError> {
    let refuse = |what: &str, why: &str| {
        Err(LaunchError::Specification {
            what: what.into(),
            why: why.into(),
        })
    };
    if spec.command.first().is_none_or(String::is_empty) {
        return refuse("the command", "it is empty");
    }
    let has_nul = |text: &String| text.contains('\0');
    if spec.command.iter().any(has_nul)
        || spec
            .environment
            .iter()
            .any(|(k, v)| has_nul(k) || has_nul(v))
    {
        return refuse("the command or its environment", "it contains a NUL byte");
    }
    if spec
        .environment
        .iter()
        .any(|(name, _)| name.is_empty() || name.contains('='))
    {
        return refuse("the environment", "a name is empty or contains `=`");
    }
    if spec.ports.len() + spec.loopback_ports.len() + 2 > wire::MAX_DESCRIPTORS {
        return refuse("the ports", "there are more than 251");
    }
    let trees = std::iter::once(&spec.workspace)
        .chain(&spec.extra_trees)
        .map(|tree| &tree.path);
    for path in trees
        .chain(&spec.readable)
        .chain(spec.private_folders.iter().map(|folder| &folder.inside))
        .chain(spec.copies.iter().map(|copy| &copy.path))
        .chain([&spec.home, &spec.working_directory])
    {
        let plain = path
            .components()
            .skip(1)
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !path.is_absolute() || !plain || path.to_str().is_none() {
            return refuse(
                &path.display().to_string(),
                "it is not an absolute path in UTF-8 without `..`",
            );
        }
        if path == Path::new("/") {
            return refuse(
                "/",
                "a sandbox around the root of the file system confines nothing",
            );
        }
    }
    Ok(())
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Where the command's program is outside, as its `search_path` finds it.
pub(crate) fn find_program(spec: &Spec) -> Option<PathBuf> {
    let program = Path::new(spec.command.first()?);
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        let path = spec.working_directory.join(program);
        return executable(&path).then_some(path);
    }
    std::env::split_paths(&spec.search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| executable(path))
}

/// Our ends, and theirs in the order of the streams that are pipes.
fn make_pipes(streams: [Stream; 3]) -> io::Result<(Ends, Vec<OwnedFd>)> {
    let mut ends = Ends::default();
    let mut theirs = Vec::new();
    for (number, stream) in streams.into_iter().enumerate() {
        if stream == Stream::Terminal {
            continue;
        }
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        match number {
            0 => {
                ends.input = Some(File::from(write));
                theirs.push(read);
            }
            1 => {
                ends.output = Some(File::from(read));
                theirs.push(write);
            }
            _ => {
                ends.error = Some(File::from(read));
                theirs.push(write);
            }
        }
    }
    Ok((ends, theirs))
}

pub(crate) fn start_stage(executable: Option<&Path>) -> Result<Stage, LaunchError> {
    Stage::start(executable).map_err(LaunchError::system("starting the stage"))
}
