//! Builds an endpoint.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::TryFutureExt;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tus_core::{Config, NewUpload, Rejection, server::FinishReply};

use crate::{
    HookError, Hooks, Storage, Tus, background,
    context::{
        Authorize, BeforeCreate, BeforeFinish, BeforeTerminate, Created, CreationFailed, Finished, Progress, Terminated,
    },
    engine::Engine,
    hooks::Runner,
    leases::Leases,
    observe,
    request::Budget,
    waking::Waking,
};

/// The shortest time between two checkpoints or sweeps.
const SHORTEST: Duration = Duration::from_millis(10);

/// Ten years: longer than a process runs, and every clock can add it. Longer settings mean the same.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The number of uploads that are assembled at once.
const ASSEMBLING: usize = 4;

impl Tus {
    /// An endpoint with `storage`.
    ///
    /// Requests on one upload take turns within an endpoint (a clone of [`Tus`] is the same endpoint). A second
    /// endpoint for the same uploads, for example with other hooks, must open the store again, as another process
    /// would.
    pub fn builder(storage: impl Storage) -> Builder {
        Self::builder_shared(Arc::new(storage))
    }

    /// An endpoint with a storage that was chosen at run time.
    pub fn builder_shared(storage: Arc<dyn Storage>) -> Builder {
        Builder {
            config: Config::default(),
            storage,
            hooks: Runner::new(Duration::from_secs(30)),
            body_timeout: Duration::from_secs(30),
            body_rate: 100,
            download_timeout: Duration::from_secs(60),
            max_downloads: 2048,
            checkpoint_interval: Duration::from_millis(500),
            sweep_interval: Duration::from_secs(60),
            background: true,
        }
    }
}

/// Builds a [`Tus`].
///
/// ```
/// use std::time::Duration;
///
/// use tus_service::{Config, Memory, Rejection, Tus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let tus = Tus::builder(Memory::new())
///     .config(Config::default().max_size(10 << 30))
///     .body_timeout(Duration::from_secs(60))
///     .authorize(|cx| async move {
///         match cx.request.headers.get("authorization").is_some_and(|value| value == "Bearer secret") {
///             true => Ok(()),
///             false => Err(Rejection::unauthorized("Bearer")),
///         }
///     })
///     .build();
/// # }
/// ```
pub struct Builder {
    config: Config,
    storage: Arc<dyn Storage>,
    hooks: Runner,
    body_timeout: Duration,
    body_rate: u64,
    download_timeout: Duration,
    max_downloads: usize,
    checkpoint_interval: Duration,
    sweep_interval: Duration,
    background: bool,
}

/// Each hook as a closure with the parameters and result of the method of [`Hooks`] of the same name.
macro_rules! closures {
    ($($(#[$doc:meta])* $hook:ident($cx:ident) -> $output:ty;)+) => {
        impl Builder {
            $(
                $(#[$doc])*
                pub fn $hook<F, R>(mut self, $hook: F) -> Self
                where
                    F: Fn($cx) -> R + Send + Sync + 'static,
                    R: Future<Output = $output> + Send + 'static,
                {
                    self.hooks.closures.$hook = Some(Box::new(move |cx| Box::pin($hook(cx))));
                    self
                }
            )+
        }
    };
}

closures! {
    /// Calls a closure as [`Hooks::authorize`].
    ///
    /// ```
    /// use tus_service::{Memory, Rejection, Tus};
    ///
    /// let builder = Tus::builder(Memory::new()).authorize(|cx| async move {
    ///     match cx.request.headers.get("authorization").is_some_and(|value| value == "Bearer secret") {
    ///         true => Ok(()),
    ///         false => Err(Rejection::unauthorized("Bearer")),
    ///     }
    /// });
    /// ```
    authorize(Authorize) -> Result<(), Rejection>;
    /// Calls a closure as [`Hooks::before_create`].
    before_create(BeforeCreate) -> Result<NewUpload, Rejection>;
    /// Calls a closure as [`Hooks::creation_failed`].
    creation_failed(CreationFailed) -> ();
    /// Calls a closure as [`Hooks::created`].
    created(Created) -> ();
    /// Calls a closure as [`Hooks::progress`].
    progress(Progress) -> ();
    /// Calls a closure as [`Hooks::before_finish`].
    before_finish(BeforeFinish) -> Result<FinishReply, Rejection>;
    /// Calls a closure as [`Hooks::before_terminate`].
    before_terminate(BeforeTerminate) -> Result<(), Rejection>;
    /// Calls a closure as [`Hooks::terminated`].
    terminated(Terminated) -> ();
}

impl Builder {
    /// The protocol's settings: limits, extensions, and the form of URLs.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The application's hooks. If a closure is set for a hook, too, the closure is called first, and then the method.
    /// Either can reject.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.set(hooks);
        self
    }

    /// Calls a closure as [`Hooks::finished`]. Its error may have any type.
    ///
    /// ```
    /// use tus_service::{Memory, Tus};
    ///
    /// let builder = Tus::builder(Memory::new()).finished(|cx| async move {
    ///     println!("{} is complete", cx.upload.id);
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// ```
    pub fn finished<F, R, E>(mut self, finished: F) -> Self
    where
        F: Fn(Finished) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<HookError> + 'static,
    {
        self.hooks.closures.finished = Some(Box::new(move |cx| Box::pin(finished(cx).map_err(Into::into))));
        self
    }

    /// The time limit for each hook except [`Hooks::finished`]; 30 s by default.
    pub fn hook_timeout(mut self, timeout: Duration) -> Self {
        self.hooks.timeout = timeout.min(LONGEST);
        self
    }

    /// The time limit for a call of [`Hooks::finished`]; none by default. 64 calls run at once, so calls that never
    /// end block the others.
    pub fn finished_timeout(mut self, timeout: Duration) -> Self {
        self.hooks.finished_timeout = timeout.min(LONGEST);
        self
    }

    /// How long a body may be silent; 30 s by default. What has arrived until then is kept.
    pub fn body_timeout(mut self, silence: Duration) -> Self {
        self.body_timeout = silence.min(LONGEST);
        self
    }

    /// The minimum rate of a body in bytes per second, measured over a minute; 100 by default, 0 for none. A slower
    /// body ends as a silent one does: what has arrived is kept.
    pub fn body_rate(mut self, bytes_per_second: u64) -> Self {
        self.body_rate = bytes_per_second;
        self
    }

    /// How long the client of a download may read nothing; 60 s by default. The download is then aborted, and the
    /// upload's file is closed. A framework that still waits for the client keeps what it has buffered, unless a
    /// [`CloseConnection`](crate::CloseConnection) ends its connection. Bytes in socket buffers count as read: a full
    /// socket accepts more only after some of them have arrived.
    pub fn download_timeout(mut self, silence: Duration) -> Self {
        self.download_timeout = silence.min(LONGEST);
        self
    }

    /// The maximum number of concurrent downloads; 2048 by default. Each uses up to 32 KiB of memory and the
    /// framework's buffers (160 KiB in all), so this limits their total memory. Further ones are answered with 503
    /// and `Retry-After`. An aborted download counts as long as its connection holds memory.
    pub fn max_downloads(mut self, downloads: usize) -> Self {
        self.max_downloads = downloads;
        self
    }

    /// How long bytes may wait for their commit while a body arrives; 500 ms by default. A process that is killed
    /// loses at most the bytes since the last commit. A storage may take longer.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval.clamp(SHORTEST, LONGEST);
        self
    }

    /// How often expired uploads are removed and failed hooks are called again; 60 s by default.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval.clamp(SHORTEST, LONGEST);
        self
    }

    /// Whether this process does background work: removes expired uploads, assembles final ones, and calls hooks that
    /// are due. On by default. Turn it off in a program that only inspects the uploads of a server, or that does not
    /// have the server's hooks: an upload that is completed without hooks counts as finished, and nobody is notified
    /// of it.
    ///
    /// A process without hooks ignores uploads that were complete before, because another process must be notified of
    /// them. An application that no longer has hooks finishes them with `hooks(())`, which approves everything.
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Builds the endpoint. Work that a killed process left undone starts immediately, in the background.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn build(self) -> Tus {
        observe::describe();
        let config = self.config.notify(self.hooks.notifies()).shapes_responses(self.hooks.shapes_responses());
        let engine = Arc::new(Engine {
            config: Arc::new(config),
            budget: Budget::new(self.storage.batch()),
            storage: self.storage,
            hooks: self.hooks,
            leases: Leases::default(),
            body_timeout: self.body_timeout,
            body_rate: self.body_rate,
            download_timeout: self.download_timeout,
            downloads: Arc::new(Semaphore::new(self.max_downloads.min(Semaphore::MAX_PERMITS))),
            checkpoint_interval: self.checkpoint_interval,
            looks_ahead: self.sweep_interval.saturating_mul(2),
            background: self.background,
            terminating: Arc::new(Semaphore::new(background::TERMINATING as usize)),
            awaits_calls: Arc::default(),
            assembling: Semaphore::new(ASSEMBLING),
            waking: Waking::default(),
            jobs: Arc::default(),
            stopping: CancellationToken::new(),
            abandoning: CancellationToken::new(),
            exchanges: TaskTracker::new(),
        });
        let gone = CancellationToken::new();
        if self.background {
            tokio::spawn(background::run(Arc::downgrade(&engine), gone.clone(), self.sweep_interval));
        }
        Tus { engine, _gone: Arc::new(gone.drop_guard()) }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
