"""What `import torch` finds in processes that `pullback run` starts: it puts pullback in its own place."""

from __future__ import annotations

from pullback.cli import aliases

aliases.install()
