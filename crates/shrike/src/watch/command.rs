//! Runs a command and keeps what it prints: in bounded time and memory, whatever it does.

use linux::end_process;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So much of a listing is read.
const MAX_OUTPUT: u64 = 16 << 20;
/// So much of its complaints is kept.
const MAX_COMPLAINT: u64 = 4096;
/// What a command that is over has printed is there by then, although another process may still have its output open.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What a command printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// Its standard output, without what must not be kept.
    pub text: String,
    /// Why it may not be all there is: how the command ended, and what it complained about.
    pub doubt: Option<String>,
}

/// Octets that a thread reads, as far as they are there.
struct Pipe {
    read: Arc<Mutex<Vec<u8>>>,
    over: Receiver<()>,
}

impl Pipe {
    /// Reads until the end and keeps the first `most` octets: who writes more is not kept waiting, nor is its pipe broken.
    fn new(from: Option<impl Read + Send + 'static>, most: u64) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let (done, over): (Sender<()>, _) = channel();
        let kept = Arc::clone(&read);
        std::thread::spawn(move || {
            let Some(mut from) = from else { return };
            let mut chunk = vec![0; 1 << 16];
            loop {
                let length = match from.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(kept.len());
                kept.extend_from_slice(chunk.get(..length.min(room)).unwrap_or_default());
            }
            let _ = done.send(());
        });
        Self { read, over }
    }

    /// What is there when it ends, or after this time.
    fn take(&self, patience: Duration) -> Vec<u8> {
        let _ = self.over.recv_timeout(patience); // what is there counts
        std::mem::take(&mut self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends a command with all that it began: what goes on would keep the pipes, and be one more at each look.
fn end(process: u32, ended: &Receiver<io::Result<ExitStatus>>) {
    for descendant in descendants(process).into_iter().chain([process]) {
        end_process(descendant);
    }
    let _ = ended.recv_timeout(AFTERWARDS);
}

/// The processes below one, the youngest first.
fn descendants(of: u32) -> Vec<u32> {
    let parent = |entry: io::Result<std::fs::DirEntry>| {
        let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name in brackets may have anything in it.
        let (_, rest) = line.rsplit_once(')')?;
        Some((process, rest.split_whitespace().nth(1)?.parse::<u32>().ok()?))
    };
    let all: Vec<(u32, u32)> = std::fs::read_dir("/proc").into_iter().flatten().filter_map(parent).collect();
    let mut found = vec![of];
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        let below = all.iter().filter(|(process, parent)| *parent == above && !found.contains(process));
        let below: Vec<u32> = below.map(|(process, _)| *process).collect();
        found.extend(below);
        at += 1;
    }
    found.remove(0);
    found.reverse();
    found
}

/// Why a program cannot be started, in words for who wrote it.
fn cannot_run(program: &str, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if program.contains(char::is_whitespace) => {
            ": write the words of the command without quotes, or give it to a shell (sh -c '...')"
        }
        io::ErrorKind::NotFound => ": no such program; write it with its path",
        io::ErrorKind::PermissionDenied => ": it is no program, or not for this user",
        _ => "",
    };
    format!("cannot run '{program}': {error}{hint}")
}

/// Starts it.
///
/// # Errors
/// There is no such program.
pub fn start(words: &[String]) -> Result<Child, String> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let mut command = Command::new(program);
    command.args(words.get(1..).unwrap_or_default()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| cannot_run(program, &error))
}

/// What it prints until it ends, or why that cannot be used.
///
/// # Errors
/// It does not end in time, prints too much, or ends with a failure and nothing else.
pub fn output(program: &str, mut child: Child, patience: Duration) -> Result<Printed, String> {
    let process = child.id();
    let (stdout, stderr) = (Pipe::new(child.stdout.take(), MAX_OUTPUT), Pipe::new(child.stderr.take(), MAX_COMPLAINT));
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(child.wait()));
    let status = match ended.recv_timeout(patience) {
        Ok(status) => status.map_err(|error| format!("'{program}': {error}"))?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            end(process, &ended);
            return Err(format!("'{program}' did not end within {} s, and was ended", patience.as_secs()));
        }
    };
    let (text, said) = (stdout.take(AFTERWARDS), stderr.take(Duration::from_millis(200)));
    if u64::try_from(text.len()).unwrap_or(u64::MAX) >= MAX_OUTPUT {
        // Half a listing would have the rest of the SAs gone.
        return Err(format!("'{program}' prints more than {} MiB: no listing is so long", MAX_OUTPUT >> 20));
    }
    let said = String::from_utf8_lossy(&said);
    let said = said.lines().find(|line| !line.trim().is_empty()).map(|line| diag::redact(line.trim()).into_owned());
    let doubt = match (status.success(), said) {
        (true, said) => said.map(|said| format!("'{program}' says: {said}")),
        (false, Some(said)) => Some(format!("'{program}' ended with {status}: {said}")),
        (false, None) => Some(format!("'{program}' ended with {status}")),
    };
    let text = String::from_utf8_lossy(&text);
    let text = show::listing::unwrapped(&text).lines().flat_map(|line| [diag::redact(line), "\n".into()]).collect();
    Ok(Printed { text, doubt })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Result<Printed, String> {
        let words = ["sh".to_string(), "-c".to_string(), script.to_string()];
        output("sh", start(&words)?, patience)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_printed_is_kept_without_keys_and_with_its_doubts() {
        let printed = shell("echo listing", LONG).unwrap();
        assert_eq!((printed.text.as_str(), printed.doubt), ("listing\n", None));
        let printed = shell("printf '\\tE: aes-cbc  d56bba6c 3e061e8f d36c7c57 c126e0e7\\n'", LONG).unwrap();
        assert!(!printed.text.contains("3e061e8f"), "{printed:?}");
        let printed = shell("echo gone >&2; exit 4", LONG).unwrap();
        assert!(printed.doubt.unwrap().ends_with("4: gone"));
        assert_eq!(shell("echo late >&2", LONG).unwrap().doubt.unwrap(), "'sh' says: late");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_to_do() {
        let error = start(&["/no/such/program".to_string()]).map(|_| ()).unwrap_err();
        assert!(error.contains("cannot run '/no/such/program'") && error.contains("with its path"), "{error}");
        let error = start(&["racoonctl show-sa isakmp".to_string()]).map(|_| ()).unwrap_err();
        assert!(error.contains("without quotes"), "{error}");
    }

    /// The shell waits for another process, which has the pipe: both go.
    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_began() {
        let mark = format!("9{}", std::process::id());
        let error = shell(&format!("sleep {mark}; echo never"), Duration::from_millis(300)).unwrap_err();
        assert!(error.contains("did not end within 0 s, and was ended"), "{error}");
        let of_mark = |entry: io::Result<std::fs::DirEntry>| {
            let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            line.ends_with(format!("sleep\0{mark}\0").as_bytes()).then_some(())
        };
        let left = || std::fs::read_dir("/proc").unwrap().filter_map(of_mark).count();
        // The kernel takes it away when its turn comes.
        let gone = (0..20_000).any(|_| {
            std::thread::yield_now();
            left() == 0
        });
        assert!(gone, "it goes on");
        // Its output is closed, and it goes on all the same.
        let error = shell("exec >&- 2>&-; exec sleep 600", Duration::from_millis(300)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
    }

    /// Who goes on in the background has the pipe as well; what the command printed is there.
    #[test]
    fn what_a_command_leaves_behind_is_not_waited_for() {
        let printed = shell("sleep 7 & echo listing", LONG).unwrap();
        assert_eq!(printed.text, "listing\n");
    }

    #[test]
    fn too_much_is_no_listing_and_many_complaints_do_not_break_it() {
        let error = shell("head -c 17000000 /dev/zero", LONG).unwrap_err();
        assert!(error.contains("more than 16 MiB"), "{error}");
        let printed = shell("head -c 1000000 /dev/zero >&2 && echo listing", LONG).unwrap();
        assert_eq!(printed.text, "listing\n");
    }
}
