"""`python -m producer_api.describe > docs/openapi.json`: the API's description as it is committed."""

import json
import sys

from producer_api.app import create_app
from turnstream.settings import Settings


def main() -> None:
    app = create_app(Settings.model_construct())
    sys.stdout.write(json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
