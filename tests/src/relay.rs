//! A way to a server that ends without a word: connections over which something was answered are cut when the client says
//! the next thing, as by a server, or something on the way to it, that has forgotten about them in the meantime, or lead
//! nowhere from then on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What is said is read, and then there is nothing more to come.
    Close,
    /// What is said is not wanted.
    Reset,
    /// Nothing arrives any more, on either side, and neither is told.
    Silence,
}

/// A running relay. Ends with this value.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    cuts: usize,
}

/// What is cut.
#[derive(Debug)]
struct Plan {
    how: Cut,
    start: &'static str,
    which: Range<usize>,
    /// How many of them there were so far.
    seen: usize,
}

impl Relay {
    /// A relay to the server at `host:port`.
    pub fn start(to: &str) -> Result<Self> {
        let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (shared, to) = (Arc::clone(&state), to.to_owned());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    _ = accept(listener, shared, to) => {}
                }
            });
        });
        Ok(Self {
            address,
            state,
            thread: Some((stop, thread)),
        })
    }

    /// Its address, `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts connections over which something was answered, when the client says something that begins with `start`: of all
    /// that do from now on, the ones with these numbers.
    pub fn cut(&self, how: Cut, start: &'static str, which: Range<usize>) {
        held(&self.state).plan = Some(Plan {
            how,
            start,
            which,
            seen: 0,
        });
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        held(&self.state).cuts
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

fn held(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// How the connection ends over which this was just said, if it does.
    fn cut_at(&mut self, said: &[u8]) -> Option<Cut> {
        let plan = self
            .plan
            .as_mut()
            .filter(|plan| said.starts_with(plan.start.as_bytes()))?;
        let number = plan.seen;
        plan.seen += 1;
        if !plan.which.contains(&number) {
            return None;
        }
        self.cuts += 1;
        Some(plan.how)
    }
}

async fn accept(listener: StdTcpListener, state: Arc<Mutex<State>>, to: String) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let server = TcpStream::connect(&to).await?;
        tokio::spawn(pass(client, server, Arc::clone(&state)));
    }
}

/// Passes on what both say until one of them has nothing more to say, or it is cut.
async fn pass(mut client: TcpStream, mut server: TcpStream, state: Arc<Mutex<State>>) -> Result<()> {
    let (mut asked, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut has_answered = false;
    loop {
        tokio::select! {
            count = client.read(&mut asked) => {
                let said = &asked[..count?];
                let cut = if has_answered { held(&state).cut_at(said) } else { None };
                match cut {
                    Some(Cut::Reset) => client.set_zero_linger()?,
                    Some(Cut::Silence) => std::future::pending().await,
                    Some(Cut::Close) | None => {}
                }
                if said.is_empty() || cut.is_some() {
                    return Ok(());
                }
                server.write_all(said).await?;
            }
            count = server.read(&mut answer) => {
                let said = &answer[..count?];
                if said.is_empty() {
                    return Ok(client.shutdown().await?);
                }
                has_answered = true;
                client.write_all(said).await?;
            }
        }
    }
}
