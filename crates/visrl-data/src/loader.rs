use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::Error;

/// How many faults of skipped images a [`Loader`] remembers; it counts all of them.
const FAULTS_KEPT: usize = 1000;

/// What a [`Loader`] does with an image that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBroken {
    /// Return the error, and nothing after it.
    #[default]
    Stop,
    /// Leave the image out and count it.
    Skip,
}

/// Decodes images ahead of their use, on several threads.
///
/// Images come out in the order they were given in, whatever their decoding takes. So many are
/// decoded or waiting at most as `prefetch` says, which bounds the memory.
///
/// ```
/// use visrl_core::ImageSource;
/// use visrl_data::{Error, LoaderConfig};
///
/// let images = (0..100u8).map(|value| ImageSource::Gray {
///     name: format!("grey {value}").into(),
///     width: 2,
///     height: 1,
///     pixels: vec![value, value].into(),
/// });
/// // A processor of a model stands here in real life.
/// let decode = |image: &ImageSource| match image {
///     ImageSource::Gray { pixels, .. } => Ok(pixels[0]),
///     other => Err(format!("{other:?} is not grey")),
/// };
/// let values = LoaderConfig::default()
///     .load(images, decode)?
///     .map(|loaded| loaded.map(|loaded| loaded.value))
///     .collect::<Result<Vec<u8>, Error>>()?;
/// assert_eq!(values, (0..100).collect::<Vec<u8>>());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Threads that decode; by default one per processor, at most eight.
    pub threads: usize,
    /// Images decoded or waiting to be taken, at most.
    pub prefetch: usize,
    /// The largest encoded image, in bytes: a larger file is broken and is not read.
    pub file_bytes: u64,
    /// What to do with an image that cannot be decoded.
    pub on_broken: OnBroken,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            threads: processors.min(8),
            prefetch: 32,
            file_bytes: 256 << 20,
            on_broken: OnBroken::default(),
        }
    }
}

impl LoaderConfig {
    /// Starts the threads. Images are taken from the list as room becomes free, so that the list
    /// may be long or endless.
    ///
    /// `decode` opens an image and returns whatever the caller wants of it. A panic of it is an
    /// error of that image.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for no threads or no room, [`Error::Io`] when a thread cannot be started.
    /// The loader itself returns [`Error::BrokenImage`].
    pub fn load<I, T, E, F>(&self, images: I, decode: F) -> Result<Loader<I::IntoIter, T>, Error>
    where
        I: IntoIterator<Item = ImageSource>,
        T: Send + 'static,
        E: Display,
        F: Fn(&ImageSource) -> Result<T, E> + Send + Sync + 'static,
    {
        for (field, value) in [("threads", self.threads), ("prefetch", self.prefetch)] {
            if value == 0 {
                let message = "is 0, so that nothing would be loaded; give at least 1".into();
                return Err(Error::Config { field, message });
            }
        }
        let mut loader = Loader {
            images: images.into_iter(),
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    results: HashMap::new(),
                    closed: false,
                }),
                job: Condvar::new(),
                result: Condvar::new(),
            }),
            threads: Vec::new(),
            ahead: VecDeque::new(),
            prefetch: self.prefetch,
            on_broken: self.on_broken,
            next: 0,
            skipped: 0,
            faults: Vec::new(),
            done: false,
        };
        let decode = Arc::new(decode);
        let limit = self.file_bytes;
        for _ in 0..self.threads.min(self.prefetch) {
            let (shared, decode) = (Arc::clone(&loader.shared), Arc::clone(&decode));
            let thread = thread::Builder::new()
                .name("visrl-load".into())
                .spawn(move || shared.work(|image| open(image, limit, &*decode)));
            loader.threads.push(thread.map_err(|source| Error::Io {
                path: "a thread of the loader".into(),
                source,
            })?);
        }
        Ok(loader)
    }
}

/// A decoded image and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The image's place in the list given, from 0, with skipped images counted.
    pub index: usize,
    /// What `decode` made of it.
    pub value: T,
}

/// The images of [`LoaderConfig::load`], in order. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Loader<I, T> {
    images: I,
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    /// The images that were handed out to be decoded, from `next` on.
    ahead: VecDeque<ImageSource>,
    prefetch: usize,
    on_broken: OnBroken,
    next: usize,
    skipped: usize,
    faults: Vec<Error>,
    done: bool,
}

impl<I, T> Loader<I, T> {
    /// How many broken images were skipped so far.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Why images were skipped: [`Error::BrokenImage`] of each, of the first thousand at most.
    pub fn faults(&self) -> &[Error] {
        &self.faults
    }
}

impl<I: Iterator<Item = ImageSource>, T> Iterator for Loader<I, T> {
    type Item = Result<Loaded<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            while self.ahead.len() < self.prefetch
                && let Some(image) = self.images.next()
            {
                let index = self.next + self.ahead.len();
                self.ahead.push_back(image.clone());
                self.shared.hand_out(index, image);
            }
            let Some(image) = self.ahead.pop_front() else {
                break;
            };
            let index = self.next;
            self.next += 1;
            let message = match self.shared.wait_for(index) {
                Ok(value) => return Some(Ok(Loaded { index, value })),
                Err(message) => message,
            };
            let name = image.name();
            let fault = Error::BrokenImage {
                index,
                name,
                message,
            };
            match self.on_broken {
                OnBroken::Stop => {
                    self.done = true;
                    return Some(Err(fault));
                }
                OnBroken::Skip => {
                    self.skipped += 1;
                    if self.faults.len() < FAULTS_KEPT {
                        self.faults.push(fault);
                    }
                }
            }
        }
        self.done = true;
        None
    }
}

impl<I, T> Drop for Loader<I, T> {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A thread catches the panics of `decode`, so there is nothing to learn here.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// There is a job, or the loader was closed.
    job: Condvar,
    /// There is a result.
    result: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<(usize, ImageSource)>,
    results: HashMap<usize, Result<T, String>>,
    closed: bool,
}

impl<T> Shared<T> {
    /// No foreign code runs under the lock, so what a panic left there is whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, index: usize, image: ImageSource) {
        self.lock().jobs.push_back((index, image));
        self.job.notify_one();
    }

    fn wait_for(&self, index: usize) -> Result<T, String> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.results.remove(&index) {
                return result;
            }
            state = self
                .result
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.job.notify_all();
    }

    /// What a thread does: one job after another, until the loader is closed.
    fn work(&self, open: impl Fn(&ImageSource) -> Result<T, String>) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let Some((index, image)) = state.jobs.pop_front() else {
                state = self.job.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let result = open(&image);
            state = self.lock();
            state.results.insert(index, result);
            self.result.notify_one();
        }
    }
}

/// Decodes an image that is not too large.
fn open<T, E: Display>(
    image: &ImageSource,
    limit: u64,
    decode: impl Fn(&ImageSource) -> Result<T, E>,
) -> Result<T, String> {
    let size = match image {
        ImageSource::Path(path) => {
            let file = std::fs::metadata(path).map_err(|error| error.to_string())?;
            if !file.is_file() {
                return Err("is not a file".into());
            }
            file.len()
        }
        ImageSource::Encoded { bytes, .. } => bytes.len() as u64,
        // Pixels are in memory already, and as many as their width and height say.
        ImageSource::Gray { .. } | ImageSource::Rgb { .. } => 0,
    };
    if size > limit {
        return Err(format!(
            "has {size} bytes, the limit is {limit}; raise `file_bytes`, if it is an image"
        ));
    }
    match catch_unwind(AssertUnwindSafe(|| decode(image))) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or(panic.downcast_ref::<&str>().copied());
            let message = message.unwrap_or("without a message");
            Err(format!("the decoder panicked: {message}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn number(n: usize) -> ImageSource {
        ImageSource::path(n.to_string())
    }

    /// Images in memory; the first four bytes are the image's number.
    fn image(n: usize) -> ImageSource {
        ImageSource::Encoded {
            name: format!("image {n}").into(),
            bytes: (n as u32).to_le_bytes().to_vec().into(),
        }
    }

    fn read(image: &ImageSource) -> Result<usize, String> {
        match image {
            ImageSource::Encoded { bytes, .. } => {
                let n = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
                match n % 10 {
                    7 => Err("bad header".into()),
                    8 => panic!("index out of bounds"),
                    _ => Ok(n),
                }
            }
            _ => Err("not in memory".into()),
        }
    }

    #[test]
    fn images_come_in_order_and_broken_ones_are_counted() {
        for (threads, prefetch) in [(1, 1), (4, 3), (3, 64)] {
            let config = LoaderConfig {
                threads,
                prefetch,
                on_broken: OnBroken::Skip,
                ..Default::default()
            };
            // Later images are faster, so that threads overtake each other.
            let mut loader = config
                .load((0..200).map(image), |image| {
                    let result = read(image);
                    if let Ok(n) = result {
                        std::thread::sleep(Duration::from_micros(500 - 2 * n as u64));
                    }
                    result
                })
                .unwrap();
            let found: Vec<Loaded<usize>> = loader.by_ref().map(Result::unwrap).collect();
            assert_eq!(found.len(), 160);
            assert!(found.iter().all(|loaded| loaded.index == loaded.value));
            assert!(found.is_sorted_by_key(|loaded| loaded.index));
            assert_eq!((loader.skipped(), loader.faults().len()), (40, 40));
            let messages: Vec<String> = loader.faults()[..2].iter().map(Error::to_string).collect();
            assert_eq!(
                messages,
                [
                    "image 7 (`image 7`): bad header",
                    "image 8 (`image 8`): the decoder panicked: index out of bounds"
                ]
            );
            assert!(loader.next().is_none());
        }
    }

    #[test]
    fn a_broken_image_stops_the_loader_at_its_place() {
        let mut loader = LoaderConfig::default()
            .load((0..).map(image), read)
            .unwrap();
        let good: Vec<usize> = loader
            .by_ref()
            .map_while(Result::ok)
            .map(|l| l.value)
            .collect();
        assert_eq!(good, [0, 1, 2, 3, 4, 5, 6]);
        assert!(loader.next().is_none());
        let mut again = LoaderConfig::default()
            .load((7..).map(image), read)
            .unwrap();
        assert!(matches!(
            again.next(),
            Some(Err(Error::BrokenImage { index: 0, name, .. })) if name == "image 7"
        ));
    }

    #[test]
    fn no_more_are_decoded_than_there_is_room_for() {
        let decoded = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&decoded);
        let config = LoaderConfig {
            threads: 4,
            prefetch: 5,
            ..Default::default()
        };
        let mut loader = config
            .load((0..).map(|_| image(1)), move |_| {
                Ok::<_, String>(count.fetch_add(1, Ordering::SeqCst))
            })
            .unwrap();
        for taken in 1..50 {
            loader.next().unwrap().unwrap();
            std::thread::sleep(Duration::from_micros(200));
            assert!(decoded.load(Ordering::SeqCst) < taken + 5);
        }
    }

    #[test]
    fn files_are_looked_at_before_they_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large.png");
        std::fs::write(&large, [0; 101]).unwrap();
        let gone = folder.path().join("gone.png");
        let config = LoaderConfig {
            file_bytes: 100,
            on_broken: OnBroken::Skip,
            ..Default::default()
        };
        let images = [large, gone, folder.path().to_path_buf()].map(ImageSource::path);
        let mut loader = config
            .load(images, |_| -> Result<(), String> {
                panic!("is not opened")
            })
            .unwrap();
        assert!(loader.next().is_none());
        let faults: Vec<String> = loader.faults().iter().map(Error::to_string).collect();
        assert!(faults[0].contains("large.png`): has 101 bytes, the limit is 100; raise"));
        assert!(faults[1].contains("gone.png`): "), "{}", faults[1]);
        assert!(faults[2].ends_with("is not a file"));
    }

    #[test]
    fn a_loader_without_threads_or_room_is_refused() {
        for (threads, prefetch) in [(0, 1), (1, 0)] {
            let config = LoaderConfig {
                threads,
                prefetch,
                ..Default::default()
            };
            let result = config.load([number(1)], |_| Ok::<_, String>(()));
            assert!(matches!(result, Err(Error::Config { .. })));
        }
    }

    #[test]
    fn dropping_a_loader_early_ends_its_threads() {
        let decoding = Arc::new(());
        let held = Arc::clone(&decoding);
        let mut loader = LoaderConfig::default()
            .load((0..).map(|_| image(1)), move |_| {
                let _ = &held;
                Ok::<_, String>(())
            })
            .unwrap();
        loader.next();
        drop(loader);
        assert_eq!(Arc::strong_count(&decoding), 1);
    }
}
