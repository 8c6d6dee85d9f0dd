import sys

from chatcore_server.cli import main

sys.exit(main())
