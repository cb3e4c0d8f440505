"""Models as objects of JSON."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import StoreUnavailable
from turnstream.object_store.base import ObjectExists, ObjectStore

Model = TypeVar("Model", bound=BaseModel)


class Damaged(StoreUnavailable):
    """An object is there and is not what it should be: somebody else wrote it."""


def written(value: BaseModel) -> bytes:
    """As it is stored."""
    return value.model_dump_json(exclude_none=True).encode()


class Objects:
    """What every kind of record is made with."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def _put(self, key: str, value: BaseModel, *, if_absent: bool = False) -> None:
        self.store.put(key, written(value), if_absent=if_absent)

    def _put_once(self, key: str, value: BaseModel) -> bool:
        """False where there is one already."""
        try:
            self._put(key, value, if_absent=True)
        except ObjectExists:
            return False
        return True

    def _get(self, key: str, model: type[Model]) -> Model:
        return self._parse(key, self.store.get(key), model)

    @staticmethod
    def _parse(key: str, body: bytes, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise Damaged(f"the object {key} is damaged: {error.error_count()} fields do not fit") from error
